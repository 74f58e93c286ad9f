#pragma once
// The best that any placement of one small layer can do, by searching all of them: what planners
// and bounds are held against. Knows nothing of how planners work. At most 8 ranks.

#include <cstdint>
#include <vector>

namespace ballast::testing {

/// Ranks with the same number of slots; slots may stay empty, an expert is at most once on a rank.
struct small_layer {
  std::vector<std::int64_t> loads;  // [experts]
  int ranks = 1;
  int slots_per_rank = 1;
};

/// A load as a fraction; the smallest fullest rank of a layer.
struct fraction {
  std::int64_t load = 0;
  std::int64_t parts = 1;
  double value() const { return static_cast<double>(load) / static_cast<double>(parts); }
};

/// The ranks of every expert as a bit set.
using host_sets = std::vector<std::uint32_t>;

/// With the tokens of an expert split equally over its replicas. Every vector of replica counts,
/// every packing of the replicas, but for those that cannot be better than one found before.
fraction equal_share_optimum(const small_layer& layer);

/// With the tokens split at will. For given hosts the fullest rank is then the largest, over sets
/// of ranks, of the load that cannot leave the set divided by its ranks (the minimum cut).
fraction free_share_optimum(const small_layer& layer);

/// The same over the placements that differ from `current` in at most `arrivals` replicas that a
/// rank does not hold now.
fraction free_share_optimum_within(const small_layer& layer, const host_sets& current,
                                   int arrivals);

/// The fullest rank of these hosts with the tokens split at will.
fraction free_share_maximum(const small_layer& layer, const host_sets& hosts);

}  // namespace ballast::testing
