#include "jobs/plan/report.hpp"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "jobs/exit_code.hpp"
#include "jobs/output.hpp"
#include "jobs/placement_file.hpp"

namespace ballast {

namespace {

constexpr const char* link_names[] = {"local", "island", "node", "remote"};

/// " (island 5.004, remote 100.829)": the longest of any rank over each, so they do not sum up.
std::string by_link_text(const ballast_plan_summary& s) {
  std::string text;
  for (int link = 0; link < BALLAST_LINK_CLASSES; ++link) {
    if (s.transfer_seconds_by_link[link] == 0) continue;
    text += fmt::format("{}{} {:.3f}", text.empty() ? "" : ", ", link_names[link],
                        s.transfer_seconds_by_link[link] * 1e3);
  }
  return text.empty() ? "" : " (" + text + ")";
}

void print_payback(const ballast_plan_summary& s) {
  const double saved_us = s.seconds_saved_per_step * 1e6;
  const double transfer_ms = s.transfer_seconds * 1e3;
  if (s.payback_refused != 0) {
    const std::string when =
        s.payback_steps < 0 ? "never" : fmt::format("only after {} steps", s.payback_steps);
    fmt::print("moves of {:.3f} ms to save {:.3f} us a step pay off {}, and are not made\n",
               transfer_ms, saved_us, when);
    return;
  }
  fmt::print("saves {:.3f} us a step, transfers take {:.3f} ms{}, paid off {}\n", saved_us,
             transfer_ms, by_link_text(s),
             s.payback_steps < 0 ? "never" : fmt::format("after {} steps", s.payback_steps));
}

}  // namespace

void print_series(const plan_options& options, const plan_inputs& inputs) {
  if (!options.series) return;
  fmt::print("for the window after {} of {} step{} each, prediction {}\n", inputs.windows,
             inputs.window_steps, inputs.window_steps == 1 ? "" : "s", options.prediction.name);
}

void add_series(const plan_options& options, const plan_inputs& inputs,
                nlohmann::ordered_json& document) {
  if (!options.series) return;
  document["series"] = {{"windows", inputs.windows},
                        {"window_steps", inputs.window_steps},
                        {"prediction", options.prediction.name}};
}

void print_plan(const planned& made) {
  const ballast_plan_summary& s = made.summary;
  fmt::print("{} layers x {} experts on {} ranks x {} slots, policy {}\n", made.request.layers,
             made.request.experts, made.request.ranks,
             slots_text(made.slots.slots, made.request.slots_per_rank), made.request.policy);
  print_slots(made.slots);
  fmt::print("balance {:.4f} -> {:.4f} (bound {:.4f}, gap {:.2f} %)\n", s.balance_before,
             s.balance_after, s.balance_bound, s.gap * 100);
  fmt::print("{} layers change, {} moves in {} batches ({} local, {} island, {} node, {} remote)\n",
             s.layers_changed, s.moves, s.batches, s.moves_by_link[0], s.moves_by_link[1],
             s.moves_by_link[2], s.moves_by_link[3]);
  if (made.request.token_ns > 0) print_payback(s);
  fmt::print("planned in {:.3f} ms, scheduled in {:.3f} ms, digest {:016x}\n", s.plan_seconds * 1e3,
             s.schedule_seconds * 1e3, s.digest);
}

nlohmann::ordered_json payback_to_json(const ballast_plan_summary& s) {
  nlohmann::ordered_json by_link;
  for (int link = 0; link < BALLAST_LINK_CLASSES; ++link)
    by_link[link_names[link]] = s.transfer_seconds_by_link[link];
  return {{"seconds_saved_per_step", s.seconds_saved_per_step},
          {"transfer_seconds", s.transfer_seconds},
          {"transfer_seconds_by_link", by_link},
          {"steps", s.payback_steps},
          {"refused", s.payback_refused != 0}};
}

nlohmann::ordered_json plan_to_json(const planned& made) {
  const ballast_plan_summary& s = made.summary;
  nlohmann::ordered_json document = json_head("plan");
  document["layers"] = made.request.layers;
  document["experts"] = made.request.experts;
  document["ranks"] = made.request.ranks;
  document["slots_per_rank"] = made.request.slots_per_rank;
  if (made.slots.budget > 0) document["slots"] = slots_to_json(made.slots);
  document["policy"] = made.request.policy;
  document["digest"] = fmt::format("{:016x}", s.digest);
  document["plan_seconds"] = s.plan_seconds;
  document["schedule_seconds"] = s.schedule_seconds;
  auto per_layer = nlohmann::ordered_json::array();
  for (int layer = 0; layer < made.request.layers; ++layer) {
    ballast_plan_layer l;
    l.struct_size = sizeof(l);
    check(ballast_plan_layer_summary(made.plan.get(), layer, &l));
    per_layer.push_back({{"before", l.balance_before},
                         {"after", l.balance_after},
                         {"bound", l.balance_bound},
                         {"moves", l.moves}});
  }
  document["balance"] = {{"before", s.balance_before},
                         {"after", s.balance_after},
                         {"bound", s.balance_bound},
                         {"gap", s.gap},
                         {"per_layer", per_layer}};
  const auto bytes = [&](std::int64_t moves) { return moves * made.request.expert_bytes; };
  document["moves"] = {{"count", s.moves},
                       {"bytes", bytes(s.moves)},
                       {"by_link",
                        {{"local", bytes(s.moves_by_link[0])},
                         {"island", bytes(s.moves_by_link[1])},
                         {"node", bytes(s.moves_by_link[2])},
                         {"remote", bytes(s.moves_by_link[3])}}}};
  document["payback"] = payback_to_json(s);
  document["batches"] = s.batches;
  return document;
}

void save_placement(const planned& made, const plan_options& options) {
  if (options.out.empty()) return;
  placement_file file;
  file.layers = made.request.layers;
  file.experts = made.request.experts;
  file.ranks = made.request.ranks;
  file.slots_per_rank = made.request.slots_per_rank;
  file.slots_per_layer = made.slots.slots;
  file.model = options.model;
  const std::size_t cells =
      static_cast<std::size_t>(file.layers) * file.ranks * file.slots_per_rank;
  file.experts_of_slots.resize(cells);
  file.shares.resize(cells);
  check(ballast_plan_placement(made.plan.get(), file.experts_of_slots.data(), file.shares.data()));
  write_placement_file(options.out, file);
}

}  // namespace ballast
