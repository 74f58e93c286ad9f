#pragma once
// How even a placement is, and how even any placement could be.

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "policies/placement.hpp"
#include "policies/plan.hpp"

namespace ballast {

/// Load of every rank of one layer, in 1/65536 token. `loads`: [experts]; slots and shares:
/// [slots]. `rank_loads`: [ranks], overwritten.
void rank_loads_of(std::span<const std::int64_t> loads,
                   std::span<const std::int32_t> expert_of_slot,
                   std::span<const std::int32_t> share_of_slot, const slot_layout& layout,
                   std::span<scaled_load> rank_loads);

/// The highest level (speeds.hpp) of a rank.
scaled_load fullest_rank_load(std::span<const std::int64_t> loads,
                              std::span<const std::int32_t> expert_of_slot,
                              std::span<const std::int32_t> share_of_slot,
                              const slot_layout& layout, const speed_scale& speeds = {});

/// Ranks that may hold experts, and how many.
struct host_set {
  int ranks = 1;
  std::int64_t slots = 1;            ///< in all that may be occupied, at least one per expert
  std::vector<std::int32_t> speeds;  ///< of the ranks, fastest first; empty: all the same
};

/// Those of ranks [first, last) that have usable slots. `usable`: [ranks].
host_set hosts_among(std::span<const std::int32_t> usable, const speed_scale& speeds, int first,
                     int last);

/// A lower bound on the highest level under any placement and any shares: max(mean, over k: load of
/// the k hottest experts / speed of the fastest min(ranks, k + slots - experts) ranks); the k
/// hottest have together at most k + slots - experts replicas, each on one rank. In 1/65536 token,
/// rounded up to be attainable by integers.
scaled_load bound_with_free_shares(std::span<const std::int64_t> loads, const host_set& hosts,
                                   const speed_scale& speeds = {});

/// Slots that a bound is asked for, the same number on every rank.
struct bound_shape {
  int ranks = 1;
  int slots_per_rank = 1;
  bool filled = true;  ///< no slot stays empty; allows the arguments (d) and (e)
};

/// A lower bound on the fullest rank when an expert's tokens split equally over its replicas, in
/// shares of set_equal_shares: at least the above and the smallest largest replica (greedy
/// replication, which is optimal for it), raised by bisection over the counting arguments (b)-(e)
/// of bounds.cpp. Each value tested is proven impossible on its own, in integers.
scaled_load bound_with_equal_shares(std::span<const std::int64_t> loads, const bound_shape& shape);

/// Nodes that groups of experts are dealt to, equally many to each.
struct grouped_hosts {
  std::int32_t groups = 1;  ///< `nodes` divides it, and it divides the experts
  std::int32_t nodes = 1;
  host_set node;                     ///< nowhere worse than any of the nodes
  std::optional<bound_shape> equal;  ///< of such a node: tokens split equally over replicas
};

/// A lower bound on the highest level when all replicas of a group are on one node: of the best
/// dealing of the groups, each node by the bounds above, where they are few enough to look through
/// the dealings (group_bounds.cpp), and by counting otherwise.
scaled_load bound_with_groups(std::span<const std::int64_t> loads, const grouped_hosts& hosts,
                              const speed_scale& speeds = {});

}  // namespace ballast
