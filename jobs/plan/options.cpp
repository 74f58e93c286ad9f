#include "jobs/plan/options.hpp"

#include <fmt/format.h>

#include "jobs/exit_code.hpp"

namespace ballast {

std::vector<plan_choice> plan_choices(const plan_options& options) {
  constexpr std::size_t most = 4096;
  std::size_t count = 1;
  for (const std::size_t values :
       {options.ranks.size(), options.slots_per_rank.size(), options.policies.size(),
        options.max_moves.size(), options.max_bytes.size()}) {
    count *= values;
    if (count <= most) continue;
    throw job_error(exit_code::usage,
                    fmt::format("the lists of options combine to more than {} plans", most));
  }
  std::vector<plan_choice> choices;
  choices.reserve(count);
  for (const std::int32_t ranks : options.ranks)
    for (const std::int32_t slots : options.slots_per_rank)
      for (const std::string& policy : options.policies)
        for (const std::int64_t moves : options.max_moves)
          for (const std::int64_t bytes : options.max_bytes)
            choices.push_back({ranks, slots, policy, moves, bytes});
  return choices;
}

}  // namespace ballast
