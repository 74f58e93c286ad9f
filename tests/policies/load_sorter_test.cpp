#include "policies/load_sorter.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>

#include "tests/policies/synthetic_loads.hpp"

namespace ballast {
namespace {

using ints = std::vector<std::int32_t>;
using longs = std::vector<std::int64_t>;

void expect_sorted(load_sorter& sorter, const longs& loads, const std::string& what) {
  ints expected(loads.size());
  std::iota(expected.begin(), expected.end(), 0);
  std::ranges::stable_sort(expected, [&](int a, int b) { return loads[a] > loads[b]; });
  const auto sorted = sorter.sort(loads);
  EXPECT_EQ(ints(sorted.begin(), sorted.end()), expected) << what;
}

TEST(load_sorter, sorts_loads_of_any_size_and_keeps_ties_in_order) {
  load_sorter sorter;  // one for all: its scratch memory must not matter
  for (std::uint64_t seed = 1; seed <= 3000; ++seed) {
    testing::generator random(seed);
    longs loads(random.below(300));
    const std::uint64_t range = std::uint64_t{1} << random.below(62);
    const auto least = static_cast<std::int64_t>(random.below(3) == 0 ? random.below(1 << 30) : 0);
    for (auto& load : loads) load = least + static_cast<std::int64_t>(random.below(range));
    expect_sorted(sorter, loads, "seed " + std::to_string(seed));
  }
}

TEST(load_sorter, sorts_loads_that_agree_in_their_leading_bits) {
  load_sorter sorter;
  longs loads(1000);
  for (std::size_t i = 0; i < loads.size(); ++i) {
    loads[i] = (std::int64_t{1} << 40) + static_cast<std::int64_t>(i * 7919 % 1000);
  }
  loads[500] = 0;
  expect_sorted(sorter, loads, "a cluster far from the smallest");
  loads.assign(1000, std::int64_t{1} << 62);
  loads[3] = 0;
  expect_sorted(sorter, loads, "ties");
}

}  // namespace
}  // namespace ballast
