#pragma once
// A plan request together with everything it refers to.

#include <algorithm>
#include <cstdint>
#include <utility>
#include <vector>

#include "policies/plan.hpp"
#include "tests/policies/synthetic_loads.hpp"

namespace ballast::testing {

struct scenario {
  std::vector<std::int64_t> loads;
  placement current;
  cluster_map cluster;
  plan_request request;

  scenario(std::vector<std::int64_t> all_loads, placement start, cluster_map map)
      : loads(std::move(all_loads)), current(std::move(start)), cluster(std::move(map)) {
    request.policy = "deepseek";
  }

  const plan_request& get() {  // after a move or copy the references must be made anew
    request.loads = loads;
    request.current = &current;
    request.cluster = &cluster;
    return request;
  }
};

inline scenario uniform_scenario(std::vector<std::int64_t> loads, int layers, int experts,
                                 int ranks, int slots_per_rank) {
  const slot_layout layout = slot_layout::uniform(ranks, slots_per_rank);
  const std::vector<std::int32_t> usable(static_cast<std::size_t>(ranks),
                                         std::min(slots_per_rank, experts));
  return {std::move(loads), initial_placement(layers, experts, layout, usable),
          even_cluster(1, ranks)};
}

}  // namespace ballast::testing
