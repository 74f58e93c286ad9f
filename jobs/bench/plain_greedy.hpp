#pragma once
// The greedy of the published planners as one would write it in C++ without further thought, and as
// TensorRT-LLM does: std::sort, std::priority_queue and doubles. The yardstick for the planner's
// speed and balance.

#include <cstdint>
#include <span>
#include <vector>

namespace ballast::bench {

/// One layer: replicas to the expert of largest load per replica, then the replicas, heaviest
/// first, each to the lightest rank with a free slot. Returns [ranks * slots_per_rank] experts,
/// rank by rank.
std::vector<std::int32_t> plain_greedy(std::span<const std::int64_t> loads, int ranks,
                                       int slots_per_rank);

/// The same with the groups of experts packed onto nodes first, heaviest first, groups / nodes to
/// each; then plain_greedy inside each node. groups must divide experts, nodes groups and ranks.
std::vector<std::int32_t> plain_hierarchical_greedy(std::span<const std::int64_t> loads, int groups,
                                                    int nodes, int ranks, int slots_per_rank);

/// Mean rank load / largest rank load of that layer with equal shares, 1 if idle.
double plain_balance(std::span<const std::int64_t> loads,
                     std::span<const std::int32_t> expert_of_slot, int ranks);

}  // namespace ballast::bench
