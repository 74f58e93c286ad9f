#pragma once
// What the moves of a planned layer buy: the changes between two placements in the order in which
// each next one helps most, with the fullest rank after each.

#include <cstdint>
#include <span>
#include <vector>

#include "policies/placement.hpp"
#include "policies/speeds.hpp"

namespace ballast {

/// A slot gets another expert.
struct slot_change {
  std::int32_t slot = 0;
  std::int32_t from = no_expert;  ///< its expert before
  std::int32_t to = no_expert;    ///< and after; no_expert: it is emptied
};

/// Changes that can only be made together: an expert keeps a replica and is not twice on a rank.
struct plan_step {
  std::vector<slot_change> changes;
  scaled_load max_before = 0;  ///< of the fullest rank, with the steps before made
  scaled_load max_after = 0;   ///< and with this one
  /// The rank that it relieves most: of the fullest ranks if any of them gets lighter, else of all;
  /// -1 if none gets lighter.
  std::int32_t relieved_rank = -1;
  scaled_load relieved_before = 0;
  scaled_load relieved_after = 0;
  bool relieves_fullest = false;
};

struct layer_explanation {
  scaled_load max_before = 0;    ///< current placement, current shares
  scaled_load max_reshared = 0;  ///< current placement, shares made anew: what no byte buys
  std::vector<plan_step> steps;
  scaled_load max_after = 0;  ///< target placement, target shares
};

/// One layer of a placement.
struct layer_slots {
  std::span<const std::int32_t> experts;  ///< [slots]
  std::span<const std::int32_t> shares;   ///< [slots]
};

/// Orders the changes from `current` to `target` greedily: the next step is the one after which the
/// fullest rank is lightest (to 1/4096 of the mean), then the one that evens out the other ranks
/// most, then the one of the lowest slot. After every step the tokens are split anew, equally where
/// the target's shares are equal and otherwise as evenly as the placement allows, and `max_after`
/// is exact for that split; of the last step it differs from the target's by the rounding of
/// shares.
///
/// Loads of ranks are levels (speeds.hpp) of `speeds`. Placements must be legal; duplicates on a
/// rank are allowed where shares are equal. `loads`: [experts]. Takes time quadratic in the number
/// of changes.
layer_explanation explain_layer(std::span<const std::int64_t> loads, const slot_layout& layout,
                                const layer_slots& current, const layer_slots& target,
                                const speed_scale& speeds = {});

}  // namespace ballast
