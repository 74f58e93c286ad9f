#pragma once
// From a plan request to what is to be done: everything is checked here, once, so that the planners
// behind it can trust what they get.

#include <cstdint>
#include <string>
#include <vector>

#include "policies/deepseek.hpp"
#include "policies/flow_groups.hpp"
#include "policies/plan.hpp"

namespace ballast {

enum class policy_kind : std::uint8_t {
  keep,
  random,
  flow,
  deepseek,
  deepseek_vec,
  trtllm,
  swift,
  flash,
  plugin
};

struct planning_task {
  policy_kind kind = policy_kind::keep;
  std::vector<std::int32_t> usable_slots;  ///< [ranks] 0 on masked ones
  std::int32_t rows = 0;                   ///< only so many of a rank's slots, the first, are used
  speed_scale speeds;                      ///< refers to the request
  group_shape homes;                       ///< `flow` only
  deepseek_shape shape;                    ///< of the policies that plan from nothing
};

/// One task for all layers that may occupy equally many slots.
struct planning_tasks {
  std::vector<std::int32_t> usable_slots;   ///< [ranks] 0 on masked ones; of any layer
  std::vector<planning_task> kinds;         ///< they differ in slots, and so in shape
  std::vector<std::int32_t> kind_of_layer;  ///< [layers]

  const planning_task& of(int layer) const { return kinds[kind_of_layer[layer]]; }
  policy_kind policy() const { return kinds.front().kind; }
};

/// The tasks, or in `why_not` one line on why the request cannot be planned.
struct interpreted_request {
  std::string why_not;
  planning_tasks tasks;
};
interpreted_request interpret(const plan_request& request);

bool has_masked_ranks(const plan_request& request);
std::int32_t living_ranks(const plan_request& request);

}  // namespace ballast
