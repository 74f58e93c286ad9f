#pragma once
// Fixed-point sizes of replicas. A rank's load while it is being packed is a sum of these, kept in
// one 64-bit key together with the rank's index, so that comparing two ranks is comparing two
// integers.

#include <bit>
#include <cstdint>

namespace ballast {

/// unit = load * multiplier / count, or (load >> shift) / count where the loads are too large to
/// multiply.
class unit_scale {
 public:
  /// For loads that sum to `total`: units of all replicas together stay below 2^bits, 20 <= bits
  /// <= 63.
  ///
  /// 720720 is the least common multiple of 1..16: with it load / count is exact for up to 16
  /// replicas, so loads that tie as fractions tie as units. It is doubled as often as fits, for the
  /// sake of larger counts, and given up for a power of two, then for a shift, only where it does
  /// not fit.
  unit_scale(std::uint64_t total, int bits) {
    const int total_bits = static_cast<int>(std::bit_width(total));
    if (total_bits + exact_bits <= bits) {
      multiplier_ = exact << (bits - total_bits - exact_bits);
    } else if (total_bits <= bits) {
      multiplier_ = std::uint64_t{1} << (bits - total_bits);
    } else {
      shift_ = total_bits - bits;
    }
  }

  std::uint64_t unit(std::int64_t load, std::int32_t count) const {
    const std::uint64_t scaled = (static_cast<std::uint64_t>(load) >> shift_) * multiplier_;
    return count == 1 ? scaled : scaled / static_cast<std::uint64_t>(count);
  }

 private:
  static constexpr std::uint64_t exact = 720720;
  static constexpr int exact_bits = 20;

  std::uint64_t multiplier_ = 1;
  int shift_ = 0;
};

}  // namespace ballast
