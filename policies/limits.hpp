#pragma once
// What a plan may spend, applied to the layers that any policy planned: a layer is taken as a whole
// or keeps its current placement.

#include <cstdint>
#include <span>
#include <vector>

#include "policies/plan.hpp"
#include "policies/request.hpp"

namespace ballast {

/// Whether there is any.
bool is_limited(const plan_limits& limits);

/// What plans of layers may still spend of an epoch's limits, in experts: [ranks] that each rank
/// may receive, then [link classes] that may come over links of each class. Empty: no such limits.
std::vector<std::int64_t> purse_of(const plan_request& request);

/// The class of link over which a rank gets an expert: from the nearest rank that has it, `remote`
/// if none has. `hosts`: ranks.
link_class nearest_link(const cluster_map& cluster, std::span<const std::int32_t> hosts, int rank);

/// Adds what one layer's target takes of such a purse to `spent`.
void add_spent(const plan_request& request, std::span<const std::int32_t> current,
               std::span<const std::int32_t> target, std::span<std::int64_t> spent);

/// Slots of one layer that receive an expert their rank does not hold now, counted per rank.
class arrival_counter {
 public:
  explicit arrival_counter(int experts) : seen_(static_cast<std::size_t>(experts), 0) {}

  /// Returns their number; adds them up in `per_rank` ([ranks]) unless that is empty.
  std::int32_t count(const slot_layout& layout, std::span<const std::int32_t> current,
                     std::span<const std::int32_t> target, std::span<std::int64_t> per_rank = {});

 private:
  std::vector<std::uint64_t>
      seen_;  // [experts] the last rank counted that holds it, all ranks of all calls numbered
  std::uint64_t ranks_counted_ = 0;
};

/// The layers that move something, those that gain most (max_before - max_after) first, then by
/// index.
std::vector<std::int32_t> moving_layers(const plan& decided);

/// Puts layers of `decided` back to the current placement: those with more than max_moves_per_layer
/// moves, then, taking the others by benefit (max_before - max_after descending, then layer), those
/// with which max_moves_total, or for a rank or class of link the limit of bytes, would be
/// exceeded.
void apply_limits(const plan_request& request, const planning_tasks& tasks, plan& decided);

/// Puts one layer back: experts and shares as they are now, no moves, max_after = max_before. If
/// there are masked ranks it is repaired (repair.hpp) instead, where it has to be.
void keep_layer(const plan_request& request, const planning_tasks& tasks, int layer, plan& decided);

}  // namespace ballast
