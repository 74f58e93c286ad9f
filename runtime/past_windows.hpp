#pragma once
// Loads of windows before the first, as a caller of the C interface gives them: an array, checked.

#include <cstdint>
#include <vector>

namespace ballast {

/// Not owned.
struct given_windows {
  std::int32_t layers = 0;
  std::int32_t experts = 0;
  std::int32_t count = 0;
  const std::int64_t* loads = nullptr;  ///< [count][layers][experts], tokens, oldest first
};

/// A copy. Throws error(INVALID_ARGUMENT) naming what and where: a count out of 0 to 256 or without
/// loads, a load that is negative, a layer that sums to more than 2^62.
std::vector<std::int64_t> read_past_windows(const given_windows& given);

}  // namespace ballast
