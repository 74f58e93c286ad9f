#pragma once
// A policy that comes from outside: what it plans is checked as nothing of our own needs to be.

#include <cstdint>
#include <span>
#include <string>

#include "policies/placement.hpp"

namespace ballast {

struct plan_request;
struct planning_tasks;
struct plan;

class plugin_policy {
 public:
  virtual ~plugin_policy() = default;

  /// Changes `target`, which comes as the current placement. `usable_slots`: [ranks]. Throws what
  /// it likes; the plan then fails with it. Must be a function of its arguments.
  virtual void plan(const plan_request& request, std::span<const std::int32_t> usable_slots,
                    placement& target) const = 0;
};

/// Lets the request's plug-in plan into decided.target and fills in the layers. Where its plan is
/// legal, an expert that stays on its rank keeps its slot (unless `compatible`). Throws
/// std::invalid_argument naming policy, layer and value where the plan is illegal, occupies slots
/// that are not usable, or exceeds max_moves_per_layer or max_bytes_per_rank: a plug-in knows them
/// and is not cut off. Limits that it is not told of keep whole layers back, as for any policy.
void plan_by_plugin(const plan_request& request, const planning_tasks& tasks, plan& decided);

}  // namespace ballast
