#pragma once
// Replicas of an expert on as many nodes as can be, where that costs nothing: a token finds one
// near, and the loss of a node takes fewer experts with it.

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "policies/flow_state.hpp"
#include "topology/cluster_map.hpp"

namespace ballast {

/// Works on one layer after another and keeps its scratch memory between them.
class node_spreader {
 public:
  /// `cluster` must outlive this.
  explicit node_spreader(const cluster_map& cluster);

  /// Exchanges experts that arrive with one another, hottest first, where an expert with several
  /// replicas on a node comes to one that has none, so that pairs of expert and node become more,
  /// no rank rises above `limit`, and as many move as before. `origin`: [slots] experts that need
  /// not be moved. `allows`: whether a placement, [slots], is within what may be spent otherwise.
  void spread(flow_state& state, std::span<const std::int32_t> origin, std::int64_t limit,
              const std::function<bool(std::span<const std::int32_t>)>& allows);

 private:
  bool improve(flow_state& state, std::int32_t slot, std::int64_t limit,
               const std::function<bool(std::span<const std::int32_t>)>& allows);
  std::int32_t& held(std::int32_t expert, int node) { return held_[expert * nodes_ + node]; }

  std::vector<std::int32_t> node_of_;  // [ranks]
  int nodes_ = 1;
  int tries_ = 0;
  std::vector<std::int32_t> held_;      // [experts][nodes] replicas
  std::vector<std::int32_t> arriving_;  // slots, those of the hottest experts first
};

}  // namespace ballast
