#pragma once
// Plans single layers of a request, each by the policy and within the slots of its task.

#include <memory>
#include <vector>

#include "policies/flow_ledger.hpp"
#include "policies/plan.hpp"
#include "policies/request.hpp"

namespace ballast {

class task_planner;

/// Keeps the scratch memory of its planners between layers; one per thread. Everything given must
/// outlive it.
class layer_planner {
 public:
  layer_planner(const plan_request& request, const planning_tasks& tasks, plan& decided);
  ~layer_planner();

  /// Writes the layer's target and outcome into the plan. A layer whose target would be no better
  /// is kept as it is, if it may be. Only `flow` plans within the purse.
  void plan_layer(int layer, const flow_purse& purse);

 private:
  const plan_request& request_;
  const planning_tasks& tasks_;
  plan& decided_;
  std::vector<std::unique_ptr<task_planner>> planners_;  // [kinds]
};

}  // namespace ballast
