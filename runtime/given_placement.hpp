#pragma once
// A placement as a caller of the C interface gives it: arrays, checked and laid out.

#include <cstdint>
#include <span>
#include <vector>

#include "policies/placement.hpp"

namespace ballast {

/// Not owned.
struct given_placement {
  std::int32_t layers = 0;
  std::int32_t experts = 0;
  std::int32_t slots_per_rank = 0;
  const std::int32_t* expert_of_slot = nullptr;   ///< [layers][ranks * slots_per_rank], -1 empty
  const std::int32_t* shares = nullptr;           ///< the same shape; null: equal
  bool compatible = false;                        ///< replicas of an expert may meet on a rank
  std::span<const std::int32_t> slots_per_layer;  ///< [layers] or empty: all have slots_per_rank
};

/// `layout` has slots_per_rank rows or more on every rank; those beyond stay empty. Where no
/// experts are given it is the initial placement on the `usable` slots of each rank. Throws
/// error(INVALID_ARGUMENT) naming what and where.
placement read_placement(const given_placement& given, const slot_layout& layout,
                         std::span<const std::int32_t> usable);

/// A caller's [layers] slots of a rank, checked; empty for null. Throws error(INVALID_ARGUMENT)
/// naming layer and value.
std::vector<std::int32_t> read_slots_per_layer(const std::int32_t* slots, std::int32_t layers,
                                               std::int32_t slots_per_rank, std::int32_t experts,
                                               int ranks);

}  // namespace ballast
