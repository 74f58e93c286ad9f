#pragma once
// One layer planned by a policy's published rules to the letter, for comparison with published
// vectors.

#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include "policies/plan.hpp"
#include "tests/policies/synthetic_loads.hpp"

namespace ballast::testing {

struct published_shape {
  int slots, groups, nodes, ranks;
};

/// phy2log of one layer; slots of `dead` ranks, which may not be used, hold -1.
inline std::vector<std::int32_t> published(const std::vector<std::int64_t>& loads,
                                           const published_shape& shape, const std::string& policy,
                                           const std::vector<int>& dead = {}) {
  const slot_layout layout = slot_layout::uniform(shape.ranks, shape.slots / shape.ranks);
  std::vector<std::int32_t> usable(static_cast<std::size_t>(shape.ranks),
                                   shape.slots / shape.ranks);
  for (const int rank : dead) usable[rank] = 0;
  const placement current = initial_placement(1, static_cast<int>(loads.size()), layout, usable);
  const cluster_map cluster = even_cluster(shape.nodes, shape.ranks / shape.nodes);
  plan_request request;
  request.loads = loads;
  request.current = &current;
  request.cluster = &cluster;
  request.usable_slots = usable;
  request.policy = policy;
  request.compatible = true;
  request.groups = shape.groups;
  const plan planned = make_plan(request);
  const auto experts = planned.target.experts_of(0);
  return {experts.begin(), experts.end()};
}

}  // namespace ballast::testing
