#include "jobs/plan/what_if.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>
#include <stdexcept>
#include <utility>

#include "jobs/output.hpp"
#include "jobs/plan/planned.hpp"
#include "jobs/plan/report.hpp"
#include "jobs/plan/text_table.hpp"

namespace ballast {
namespace {

constexpr double mib = 1024.0 * 1024.0;

struct what_if_row {
  plan_choice choice;
  std::string refused;          ///< why there is no plan; "" if there is
  std::int64_t max_moves = -1;  ///< of a layer, if there is a plan
  ballast_plan_summary summary = {};
  chosen_slots slots;
};

what_if_row plan_row(const plan_options& options, const plan_inputs& inputs,
                     const plan_choice& choice) {
  what_if_row row{choice, "", choice.max_moves.moves, {}, {}};
  try {
    planned made = make_plan(options, inputs, choice);
    row.max_moves = made.request.max_moves;
    row.summary = made.summary;
    row.slots = std::move(made.slots);
  } catch (const job_error& e) {
    if (e.code() != exit_code::bad_input) throw;
    row.refused = e.what();
  } catch (const std::invalid_argument& e) {
    row.refused = e.what();
  }
  return row;
}

std::string payback_text(const ballast_plan_summary& s) {
  const std::string steps = s.payback_steps < 0 ? "never" : std::to_string(s.payback_steps);
  return s.payback_refused != 0 ? steps + ", refused" : steps;
}

// Of all layers where they were chosen, and what they had to be within.
std::string budget_text(const what_if_row& row) {
  const plan_choice& choice = row.choice;
  if (choice.slots_per_rank > 0) {
    return slots_text(row.slots.slots, choice.slots_per_rank);
  }
  const std::string most = choice.slots_budget > 0
                               ? std::to_string(choice.slots_budget)
                               : fmt::format("{} bytes", choice.slots_budget_bytes);
  return row.refused.empty() ? fmt::format("{} of {}", row.slots.summary.slots, most)
                             : "of " + most;
}

// "34 (12%)": what it comes to, and what was asked.
std::string moves_text(const what_if_row& row) {
  const std::string asked = row.choice.max_moves.text();
  if (row.choice.max_moves.permille == 0 || !row.refused.empty()) return asked;
  return fmt::format("{} ({})", row.max_moves, asked);
}

std::string limit_text(std::int64_t limit) { return limit < 0 ? "any" : std::to_string(limit); }

void print_rows(const plan_options& options, const plan_inputs& inputs,
                const std::vector<what_if_row>& rows) {
  const bool bytes_known = inputs.expert_bytes > 0;
  std::vector<text_table::column> columns = {{"policy", "", true},
                                             {"ranks", ""},
                                             {"slots", "a rank"},
                                             {"moves <=", "a layer"},
                                             {"bytes <=", "a rank"},
                                             {"before", "balance"},
                                             {"after", "balance"},
                                             {"bound", "balance"},
                                             {"moves", ""},
                                             {"local", bytes_known ? "MiB" : "moves"},
                                             {"island", bytes_known ? "MiB" : "moves"},
                                             {"node", bytes_known ? "MiB" : "moves"},
                                             {"remote", bytes_known ? "MiB" : "moves"},
                                             {"plan", "ms"}};
  const bool prices_known = options.token_ns > 0;
  if (prices_known) {
    columns.insert(columns.end(), {{"saved", "us a step"}, {"transfer", "ms"}, {"pays", "steps"}});
  }
  const std::size_t width = columns.size();
  text_table table(std::move(columns));
  for (const what_if_row& row : rows) {
    std::vector<std::string> cells = {row.choice.policy, std::to_string(row.choice.ranks),
                                      budget_text(row), moves_text(row),
                                      limit_text(row.choice.max_bytes)};
    const ballast_plan_summary& s = row.summary;
    if (!row.refused.empty()) {
      cells.resize(width, "-");
    } else {
      for (const double balance : {s.balance_before, s.balance_after, s.balance_bound})
        cells.push_back(fmt::format("{:.4f}", balance));
      cells.push_back(std::to_string(s.moves));
      for (const std::int64_t moves : s.moves_by_link) {
        cells.push_back(bytes_known ? fmt::format("{:.0f}", static_cast<double>(moves) *
                                                                inputs.expert_bytes / mib)
                                    : std::to_string(moves));
      }
      cells.push_back(fmt::format("{:.2f}", s.plan_seconds * 1e3));
      if (prices_known) {
        cells.push_back(fmt::format("{:.3f}", s.seconds_saved_per_step * 1e6));
        cells.push_back(fmt::format("{:.3f}", s.transfer_seconds * 1e3));
        cells.push_back(payback_text(s));
      }
    }
    table.add(std::move(cells));
  }
  fmt::print("{} layers x {} experts{}\n{}", inputs.layers, inputs.experts,
             bytes_known ? fmt::format(", {:.1f} MiB an expert",
                                       static_cast<double>(inputs.expert_bytes) / mib)
                         : "",
             table.text());
  std::set<std::string> reasons;
  for (const what_if_row& row : rows) {
    if (!row.refused.empty() && reasons.insert(row.refused).second)
      fmt::print("no plan: {}\n", row.refused);
  }
}

nlohmann::ordered_json to_json(const plan_inputs& inputs, const what_if_row& row) {
  nlohmann::ordered_json cells = {
      {"policy", row.choice.policy},
      {"ranks", row.choice.ranks},
      {"slots_per_rank",
       row.slots.slots.empty() ? row.choice.slots_per_rank : most_slots(row.slots.slots)},
      {"max_moves", row.max_moves},
      {"max_bytes", row.choice.max_bytes}};
  if (row.choice.slots_budget > 0) cells["slots_budget"] = row.choice.slots_budget;
  if (row.choice.slots_budget_bytes > 0)
    cells["slots_budget_bytes"] = row.choice.slots_budget_bytes;
  if (!row.refused.empty()) {
    cells["refused"] = row.refused;
    return cells;
  }
  if (row.slots.budget > 0) cells["slots"] = slots_to_json(row.slots);
  const ballast_plan_summary& s = row.summary;
  cells["digest"] = fmt::format("{:016x}", s.digest);
  cells["balance_before"] = s.balance_before;
  cells["balance_after"] = s.balance_after;
  cells["balance_bound"] = s.balance_bound;
  cells["gap"] = s.gap;
  cells["moves"] = s.moves;
  const char* const links[] = {"local", "island", "node", "remote"};
  for (int link = 0; link < BALLAST_LINK_CLASSES; ++link)
    cells["moves_by_link"][links[link]] = s.moves_by_link[link];
  if (inputs.expert_bytes > 0) {
    cells["bytes"] = s.moves * inputs.expert_bytes;
    for (int link = 0; link < BALLAST_LINK_CLASSES; ++link)
      cells["bytes_by_link"][links[link]] = s.moves_by_link[link] * inputs.expert_bytes;
  }
  cells["payback"] = payback_to_json(s);
  cells["layers_changed"] = s.layers_changed;
  cells["batches"] = s.batches;
  cells["plan_seconds"] = s.plan_seconds;
  return cells;
}

}  // namespace

exit_code run_what_if(const plan_options& options, const plan_inputs& inputs,
                      const std::vector<plan_choice>& choices) {
  std::vector<what_if_row> rows;
  for (const plan_choice& choice : choices) rows.push_back(plan_row(options, inputs, choice));
  if (std::ranges::none_of(rows, [](const what_if_row& row) { return row.refused.empty(); }))
    throw job_error(exit_code::bad_input, rows.front().refused);
  if (!options.quiet && options.json != "-") {
    print_series(options, inputs);
    print_rows(options, inputs, rows);
  }

  nlohmann::ordered_json document = json_head("plan");
  document["schema"] = "ballast.plan.what_if/1";
  document["layers"] = inputs.layers;
  document["experts"] = inputs.experts;
  document["expert_bytes"] = inputs.expert_bytes;
  add_series(options, inputs, document);
  document["rows"] = nlohmann::ordered_json::array();
  for (const what_if_row& row : rows) document["rows"].push_back(to_json(inputs, row));
  write_json(document, options.json);
  return exit_code::ok;
}

}  // namespace ballast
