#include "jobs/plan/options.hpp"

#include <fmt/format.h>

#include "jobs/exit_code.hpp"

namespace ballast {

std::vector<plan_choice> plan_choices(const plan_options& options) {
  constexpr std::size_t most = 4096;
  std::vector<plan_choice> slots;
  for (const std::int32_t each : options.slots_per_rank) slots.emplace_back().slots_per_rank = each;
  for (const std::int64_t budget : options.slots_budget) slots.emplace_back().slots_budget = budget;
  for (const std::int64_t bytes : options.slots_budget_bytes) {
    slots.emplace_back().slots_budget_bytes = bytes;
  }
  const int ways = !options.slots_per_rank.empty() + !options.slots_budget.empty() +
                   !options.slots_budget_bytes.empty();
  if (ways != 1) {
    throw job_error(exit_code::usage,
                    "give one of --slots-per-rank, --slots-budget and --slots-budget-bytes");
  }
  std::size_t count = 1;
  for (const std::size_t values : {options.ranks.size(), slots.size(), options.policies.size(),
                                   options.max_moves.size(), options.max_bytes.size()}) {
    count *= values;
    if (count <= most) continue;
    throw job_error(exit_code::usage,
                    fmt::format("the lists of options combine to more than {} plans", most));
  }
  std::vector<plan_choice> choices;
  choices.reserve(count);
  for (const std::int32_t ranks : options.ranks)
    for (const plan_choice& of_slots : slots)
      for (const std::string& policy : options.policies)
        for (const move_limit& moves : options.max_moves)
          for (const std::int64_t bytes : options.max_bytes)
            choices.push_back({ranks, of_slots.slots_per_rank, of_slots.slots_budget,
                               of_slots.slots_budget_bytes, policy, moves, bytes});
  return choices;
}

}  // namespace ballast
