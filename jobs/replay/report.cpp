#include "jobs/replay/report.hpp"

#include <fmt/format.h>

#include <cstdio>
#include <nlohmann/json.hpp>
#include <numeric>

namespace ballast {
namespace {

constexpr const char* outcome_names[] = {"none", "committed", "unchanged", "dropped", "recorded"};

double mib(std::int64_t bytes) { return static_cast<double>(bytes) / (1 << 20); }

std::string balance_text(const std::optional<double>& balance) {
  return balance ? fmt::format("{:.4f}", *balance) : "-";
}

// Steps until the moves have paid off; in brackets those of moves that were not made for it.
std::string payback_text(const ballast_epoch& e) {
  if (e.payback_steps == 0) return "-";
  if (e.token_seconds == 0) return "?";
  const std::string steps = e.payback_steps < 0 ? "never" : std::to_string(e.payback_steps);
  return e.payback_refused != 0 ? "(" + steps + ")" : steps;
}

nlohmann::ordered_json or_null(const std::optional<double>& value) {
  return value ? nlohmann::ordered_json(*value) : nlohmann::ordered_json();
}

nlohmann::ordered_json bytes_json(const std::int64_t (&bytes)[BALLAST_LINK_CLASSES]) {
  return {{"local", bytes[BALLAST_LINK_LOCAL]},
          {"island", bytes[BALLAST_LINK_ISLAND]},
          {"node", bytes[BALLAST_LINK_NODE]},
          {"remote", bytes[BALLAST_LINK_REMOTE]}};
}

}  // namespace

void print_epoch_head(bool payback) {
  fmt::print("{:>5} {:>7} {:<9} {:>6} {:>6} {:>27} {:>24} {:>8} {:>8} {:>7} {:>9}{}\n", "epoch",
             "step", "outcome", "layers", "moves", "MiB local/island/node/remote",
             "balance before/plan/next", "plan", "exchange", "commit", "stall max",
             payback ? fmt::format(" {:>9}", "paid off") : "");
  fmt::print("{:>5} {:>7} {:<9} {:>6} {:>6} {:>28} {:>24} {:>8} {:>8} {:>7} {:>9}{}\n", "", "", "",
             "", "", "", "", "ms", "ms", "steps", "us",
             payback ? fmt::format(" {:>9}", "steps") : "");
}

void print_epoch(const epoch_row& row, bool payback) {
  const ballast_epoch& e = row.epoch;
  const std::string mibs = fmt::format("{:.1f}/{:.1f}/{:.1f}/{:.1f}", mib(e.bytes[0]),
                                       mib(e.bytes[1]), mib(e.bytes[2]), mib(e.bytes[3]));
  const std::string balance = fmt::format("{:.4f}/{:.4f}/{}", e.balance_before, e.balance_planned,
                                          balance_text(row.balance_next));
  const std::string commit =
      e.step_committed < 0 ? "-" : std::to_string(e.step_committed - e.step_triggered);
  fmt::print("{:>5} {:>7} {:<9} {:>6} {:>6} {:>28} {:>24} {:>8.2f} {:>8.1f} {:>7} {:>9.0f}{}\n",
             e.epoch, e.step_triggered, outcome_names[e.outcome], e.layers_changed, e.moves, mibs,
             balance, e.plan_seconds * 1e3, e.exchange_seconds * 1e3, commit,
             e.stall_seconds_max * 1e6, payback ? fmt::format(" {:>9}", payback_text(e)) : "");
  if (e.outcome == BALLAST_OUTCOME_DROPPED) fmt::print("      dropped: {}\n", e.reason);
  if (e.retries > 0) fmt::print("      scheduled anew {} times after wrong bytes\n", e.retries);
  std::fflush(stdout);
}

void print_summary(const replay_summary& s) {
  fmt::print("\n{} steps, {} epochs, {} committed: {} moves, {:.1f} MiB\n", s.steps, s.epochs,
             s.epochs_committed, s.moves,
             mib(std::accumulate(std::begin(s.bytes), std::end(s.bytes), std::int64_t{0})));
  fmt::print("balance measured: {} in the first window, {} in the last\n",
             balance_text(s.balance_first), balance_text(s.balance_last));
  fmt::print("time inside ballast_step, worst rank: p50 {:.2f} us, p99 {:.1f} us, max {:.0f} us\n",
             s.step_p50 * 1e6, s.step_p99 * 1e6, s.step_max * 1e6);
  if (s.outputs_identical) {
    fmt::print("expert outputs: {} values compared with the initial placement's, {}\n",
               s.outputs_compared, *s.outputs_identical ? "all bits identical" : "NOT identical");
  }
  fmt::print("verified {} slots against the placement: {} wrong bytes\n", s.verified_slots,
             s.wrong_bytes);
}

nlohmann::ordered_json to_json(const std::vector<epoch_row>& rows) {
  auto all = nlohmann::ordered_json::array();
  for (const epoch_row& row : rows) {
    const ballast_epoch& e = row.epoch;
    all.push_back(
        {{"epoch", e.epoch},
         {"step_triggered", e.step_triggered},
         {"step_committed", e.step_committed < 0 ? nlohmann::ordered_json()
                                                 : nlohmann::ordered_json(e.step_committed)},
         {"outcome", outcome_names[e.outcome]},
         {"reason", e.reason},
         {"layers_changed", e.layers_changed},
         {"moves", e.moves},
         {"bytes", bytes_json(e.bytes)},
         {"batches", e.batches},
         {"retries", e.retries},
         {"balance_before", e.balance_before},
         {"balance_planned", e.balance_planned},
         {"balance_bound", e.balance_bound},
         {"balance_next_window", or_null(row.balance_next)},
         {"reduce_seconds", e.reduce_seconds},
         {"plan_seconds", e.plan_seconds},
         {"exchange_seconds", e.exchange_seconds},
         {"stall_seconds_max", e.stall_seconds_max},
         {"payback",
          {{"seconds_saved_per_step", e.seconds_saved_per_step},
           {"transfer_seconds", e.transfer_seconds},
           {"transfer_seconds_by_link",
            {{"local", e.transfer_seconds_by_link[BALLAST_LINK_LOCAL]},
             {"island", e.transfer_seconds_by_link[BALLAST_LINK_ISLAND]},
             {"node", e.transfer_seconds_by_link[BALLAST_LINK_NODE]},
             {"remote", e.transfer_seconds_by_link[BALLAST_LINK_REMOTE]}}},
           {"steps", e.payback_steps},
           {"refused", e.payback_refused != 0},
           {"token_seconds", e.token_seconds},
           {"token_measured", e.token_measured != 0}}},
         {"digest", fmt::format("{:016x}", e.digest)}});
  }
  return all;
}

nlohmann::ordered_json to_json(const replay_summary& s) {
  return {{"steps", s.steps},
          {"epochs", s.epochs},
          {"epochs_committed", s.epochs_committed},
          {"moves", s.moves},
          {"bytes", bytes_json(s.bytes)},
          {"balance_first_window", or_null(s.balance_first)},
          {"balance_last_window", or_null(s.balance_last)},
          {"step_seconds", {{"p50", s.step_p50}, {"p99", s.step_p99}, {"max", s.step_max}}},
          {"verified_slots", s.verified_slots},
          {"wrong_bytes", s.wrong_bytes},
          {"outputs_identical", s.outputs_identical ? nlohmann::ordered_json(*s.outputs_identical)
                                                    : nlohmann::ordered_json()},
          {"outputs_compared", s.outputs_compared}};
}

}  // namespace ballast
