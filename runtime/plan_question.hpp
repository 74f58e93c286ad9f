#pragma once
// From a caller's ballast_plan_request to the planner's question, everything checked.

#include <vector>

#include "policies/plan.hpp"
#include "policies/prediction.hpp"
#include "runtime/ballast.h"
#include "topology/cluster_map.hpp"

namespace ballast {

/// A question and all that it refers to, but the caller's arrays.
struct asked_plan {
  /// Throws error(INVALID_ARGUMENT) naming the field.
  explicit asked_plan(const ballast_plan_request& request);
  asked_plan(const asked_plan&) = delete;

  /// Where a series is given, makes the window after it the one to be planned for. May throw as the
  /// constructor does.
  void foretell();

  ballast_plan_request request;
  std::vector<std::int32_t> slots_per_layer;  ///< [layers] or empty
  placement current;
  cluster_map cluster;
  plan_request question;

 private:
  forecast expected_;
};

/// The same request without what is said of slots, placement and limits: the fewest slots per rank
/// that can host every expert.
ballast_plan_request without_slots(const ballast_plan_request& request);

}  // namespace ballast
