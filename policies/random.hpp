#pragma once
// The `random` policy: swaps between ranks that mean nothing, to exercise everything that comes
// after planning.

#include <cstdint>
#include <span>

#include "policies/placement.hpp"

namespace ballast {

/// Tries a quarter as many swaps of two occupied slots on different ranks as there are slots (at
/// least 4), leaving out those that would put an expert twice on a rank. A function of its
/// arguments; `layer` makes the layers differ.
void swap_at_random(std::uint64_t seed, int layer, const slot_layout& layout,
                    std::span<std::int32_t> expert_of_slot);

}  // namespace ballast
