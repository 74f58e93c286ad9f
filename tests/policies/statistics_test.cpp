#include "policies/statistics.hpp"

#include <gtest/gtest.h>

#include "tests/policies/synthetic_loads.hpp"

namespace ballast {
namespace {

using longs = std::vector<std::int64_t>;
__extension__ typedef __int128 int128;

TEST(statistics, are_exact_up_to_the_largest_samples) {
  for (const int count : {2, 3, 7, 64}) {
    for (const int experts : {1, 2, 5, 37}) {
      testing::generator random(static_cast<std::uint64_t>(count * 100 + experts));
      longs samples(static_cast<std::size_t>(count) * experts);
      for (auto& sample : samples) {
        sample = (std::int64_t{1} << sample_bits) - 1 - random.below(random.below(2) ? 9 : 1 << 23);
      }
      sample_statistics statistics;
      statistics.compute(samples, count, experts);
      for (int a = 0; a < experts; ++a) {
        for (int b = 0; b < experts; ++b) {
          int128 sum_a = 0, sum_b = 0, products = 0;
          for (int t = 0; t < count; ++t) {
            sum_a += samples[t * experts + a];
            sum_b += samples[t * experts + b];
            products += static_cast<int128>(samples[t * experts + a]) * samples[t * experts + b];
          }
          EXPECT_EQ(statistics.sums()[a], static_cast<std::int64_t>(sum_a));
          const int128 exact = (count * products - sum_a * sum_b) * count / (count - 1);
          EXPECT_EQ(statistics.covariances(a)[b], static_cast<std::int64_t>(exact))
              << count << " samples of " << experts << ": " << a << ", " << b;
        }
      }
    }
  }
}

TEST(statistics, square_roots_are_exact) {
  for (const std::int64_t root : {0L, 1L, 2L, 3L, 94906265L, 94906266L, 94906267L, 2147483647L}) {
    for (const std::int64_t offset : {-1L, 0L, 1L}) {
      const std::int64_t value = root * root + offset;
      if (value < 0) continue;
      const std::int64_t found = square_root(value);
      EXPECT_LE(static_cast<int128>(found) * found, value);
      EXPECT_GT(static_cast<int128>(found + 1) * (found + 1), value);
    }
  }
}

}  // namespace
}  // namespace ballast
