#pragma once
// Ranks are gone with all that they held: what is left, and where experts that nobody else holds
// may be loaded again.

#include <cstdint>
#include <span>
#include <vector>

#include "policies/placement.hpp"

namespace ballast {

/// The rows that experts may be in.
struct recovery_room {
  std::span<const std::uint8_t> gone;    ///< [ranks] nonzero: gone; empty: none
  std::span<const std::uint8_t> masked;  ///< [ranks] nonzero: nothing is to be loaded there, gone
                                         ///< or not; empty: none
  std::span<const std::int32_t> usable_slots;     ///< [ranks] how many of a rank may be occupied
  std::span<const std::int32_t> slots_per_layer;  ///< [layers] and in a layer; empty: no less
  std::int32_t spare_rows = 0;                    ///< beyond those of a layer
};

struct lost_place {
  std::int32_t layer = 0;
  std::int32_t expert = 0;
  std::int32_t slot = -1;  ///< -1: there is none

  friend bool operator==(const lost_place&, const lost_place&) = default;
};

struct recovery {
  placement left;                ///< with every lost expert in its slot, and the layers that have
                                 ///< changed with equal shares
  std::vector<lost_place> lost;  ///< by layer, then expert
};

/// A lost expert goes to the emptiest rank (the lowest of such) that has a usable slot free, and
/// where there is none in place of a replica of the expert that has most (in the lowest slot).
recovery recover(const placement& current, const recovery_room& room);

}  // namespace ballast
