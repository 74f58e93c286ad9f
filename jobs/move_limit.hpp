#pragma once
// The values of --max-moves: moves of a layer, or a part of its slots, so that one job script fits
// models and groups of ranks of any size.

#include <cstdint>
#include <string>

namespace ballast {

struct move_limit {
  std::int64_t moves = -1;    ///< -1: any number
  std::int32_t permille = 0;  ///< of the layer's slots, instead; 0: not given so

  /// For a layer of so many slots on all ranks, rounded down.
  std::int64_t of(std::int64_t slots) const {
    return permille > 0 ? slots / 1000 * permille + slots % 1000 * permille / 1000 : moves;
  }
  /// As it was given: "any", "16", "12.5%".
  std::string text() const;
};

/// Reads -1, a number, or a percentage above 0 and up to 100 with at most one decimal. Where it is
/// none of these returns why; otherwise "".
std::string read_move_limit(const std::string& text, move_limit& limit);

/// CLI11 finds it here.
inline bool lexical_cast(const std::string& text, move_limit& limit) {
  return read_move_limit(text, limit).empty();
}

}  // namespace ballast
