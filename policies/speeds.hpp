#pragma once
// Ranks that differ in speed: what a plan evens out is the time that loads take, load over speed.

#include <algorithm>
#include <cstdint>
#include <functional>
#include <span>

namespace ballast {

/// Rank loads in units of 1/65536 token, so that shares divide nothing.
__extension__ typedef __int128 scaled_load;

constexpr std::int32_t speed_max = 1 << 16;

/// Turns loads into levels: a rank's level is the load that a rank of mean speed carries in the
/// same time. Without speeds a level is a load.
struct speed_scale {
  std::span<const std::int32_t> speeds;  ///< [ranks] each in [1, speed_max]; empty: all the same
  std::int64_t sum = 1;                  ///< of the speeds of `ranks` ranks, those that live
  std::int64_t ranks = 1;

  bool uneven() const {
    return std::ranges::adjacent_find(speeds, std::not_equal_to<>()) != speeds.end();
  }
  std::int64_t of(int rank) const { return speeds.empty() ? 1 : speeds[rank]; }
  /// Of `load` on ranks whose speeds sum to `speed`, rounded up.
  scaled_load level(scaled_load load, std::int64_t speed) const {
    const scaled_load divisor = static_cast<scaled_load>(ranks) * speed;
    return (load * sum + divisor - 1) / divisor;
  }
};

}  // namespace ballast
