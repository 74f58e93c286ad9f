#pragma once
// Redundant slots where they help most: from a memory budget over all layers to a number of slots
// for each layer.

#include <cstdint>
#include <span>
#include <vector>

namespace ballast {

struct redundancy_budget {
  std::span<const std::int64_t> loads;  ///< [layers, experts], tokens, limits as for a plan
  int layers = 0;
  int experts = 0;
  int ranks = 1;
  std::int64_t slots_per_rank = 0;  ///< of all layers together
};

/// [layers] slots per rank, at least enough for one replica of every expert, together at most the
/// budget. They minimise the sum over layers of what the fullest rank carries at least
/// (bound_with_equal_shares), exactly; of several such choices the one with fewest slots, and then
/// with fewest in the lowest layers. So slots that no bound says are of use stay unspent.
///
/// Throws std::invalid_argument, naming the field, if the sizes do not fit or the budget is less
/// than one replica of every expert takes.
std::vector<std::int32_t> choose_slots(const redundancy_budget& budget);

}  // namespace ballast
