#pragma once
// Sums, products and covariances of a layer's windows. The one place of the planners where floats
// are at work: on integers so small that every product and every sum of them is exact in a double,
// in whatever order a machine adds them up. So the results are integers, and the same everywhere.

#include <cmath>
#include <cstdint>
#include <span>
#include <vector>

namespace ballast {

/// Samples at most, and the bits of one: 64 * 2^23 * 2^23 = 2^52 is exact in a double.
inline constexpr int samples_max = 64;
inline constexpr int sample_bits = 23;

/// Of one layer after another; keeps its memory between them.
class sample_statistics {
 public:
  /// `samples`: [count][experts], each in [0, 2^sample_bits); 2 <= count <= samples_max.
  void compute(std::span<const std::int64_t> samples, int count, int experts);

  /// [experts] sums over the samples, which is count times their mean.
  std::span<const std::int64_t> sums() const { return sums_; }

  /// [experts] of `expert` with every expert: count^2 times the (unbiased) covariance, rounded
  /// towards zero. Smaller than 2^60 for any two, and for any sums of experts that stay below
  /// 2^sample_bits in every sample.
  std::span<const std::int64_t> covariances(int expert) const {
    return std::span(covariances_)
        .subspan(static_cast<std::size_t>(expert) * sums_.size(), sums_.size());
  }

 private:
  std::vector<double> samples_;
  std::vector<double> products_;  // [experts][experts], upper half
  std::vector<std::int64_t> sums_;
  std::vector<std::int64_t> covariances_;
};

/// The largest integer whose square is at most `value`, which is in [0, 2^62).
inline std::int64_t square_root(std::int64_t value) {
  // A guess; what decides is the comparison of integers.
  auto root = static_cast<std::int64_t>(std::sqrt(static_cast<double>(value)));
  while (root * root > value) --root;
  while ((root + 1) * (root + 1) <= value) ++root;
  return root;
}

}  // namespace ballast
