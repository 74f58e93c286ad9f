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
  speed_scale speeds;                      ///< refers to the request
  group_shape homes;                       ///< `flow` only
  deepseek_shape shape;                    ///< of the policies that plan from nothing
};

/// The task, or in `why_not` one line on why the request cannot be planned.
struct interpreted_request {
  std::string why_not;
  planning_task task;
};
interpreted_request interpret(const plan_request& request);

bool has_masked_ranks(const plan_request& request);
std::int32_t living_ranks(const plan_request& request);

}  // namespace ballast
