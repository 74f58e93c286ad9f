#pragma once
// Random pairs of placements and cluster maps for the tests of schedules.

#include <algorithm>
#include <cstdint>
#include <random>
#include <vector>

#include "policies/schedule.hpp"

namespace ballast::testing {

/// Numbers that are the same on every machine, unlike those of the standard distributions.
class dice {
 public:
  explicit dice(std::uint64_t seed) : engine_(seed) {}
  int below(int limit) { return static_cast<int>(engine_() % static_cast<std::uint64_t>(limit)); }
  int between(int low, int high) { return low + below(high - low + 1); }
  bool one_in(int count) { return below(count) == 0; }
  void shuffle(std::vector<std::int32_t>& values) {
    for (std::size_t i = values.size(); i > 1; --i)
      std::swap(values[i - 1], values[below(static_cast<int>(i))]);
  }

 private:
  std::mt19937_64 engine_;
};

/// What a request points to.
struct scene {
  placement current, target;
  cluster_map cluster;
  std::vector<slot_ref> distrusted;
  schedule_request request;

  /// Points the request at the members; to be called again after a copy.
  void connect();
};

/// `ranks` spread over `nodes` in blocks, the ranks of a node dealt out to its islands in turn.
cluster_map cluster_of(int ranks, int nodes, int islands_per_node);

/// One row of experts per layer, equal shares.
placement placement_of(const slot_layout& layout, int experts,
                       const std::vector<std::vector<std::int32_t>>& rows);

/// Every expert once, then up to `extras` replicas where their rank has none of the expert
/// (anywhere with `duplicates`), the rest of the slots empty.
placement random_placement(dice& roll, int layers, int experts, const slot_layout& layout,
                           int extras, bool duplicates);

/// Layouts even and ragged, empty slots, duplicates, near and far targets, nodes and islands, all
/// ways and small limits.
scene random_scene(std::uint64_t seed);

/// Full placements without replicas of 2 to 4 ranks, in which experts change places inside their
/// ranks too, and room for one staged move.
scene tight_scene(std::uint64_t seed);

}  // namespace ballast::testing
