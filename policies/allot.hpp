#pragma once
// A budget of moves divided over layers: where they buy most.

#include <cstdint>
#include <span>
#include <vector>

#include "policies/speeds.hpp"

namespace ballast {

/// A way to plan one layer.
struct layer_offer {
  std::int64_t moves = 0;
  scaled_load level = 0;  ///< of the fullest rank then, below 2^80
};

/// Which offer each layer takes so that the sum of levels is low and the moves are at most `total`:
/// the step that lowers a level most per move comes first. That is the best division of what it
/// spends; what the next step needs and no longer gets, less than one layer's, stays unspent unless
/// later steps fit. `offers`: [layers], each with one of fewest moves that is taken in any case.
std::vector<std::size_t> allot(std::span<const std::vector<layer_offer>> offers,
                               std::int64_t total);

}  // namespace ballast
