#include "runtime/window_report.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

namespace ballast {
namespace {

using longs = std::vector<std::int64_t>;

TEST(window_report, sums_of_all_ranks_come_apart_again) {
  const longs loads[] = {{1, 2, 3}, {10, 20, 30}};
  const link_times links[] = {{{1, 2, 3, 4}, {5, 6, 7, 8}}, {{10, 0, 0, 0}, {0, 0, 0, 80}}};
  window_report first(3, 2, 0);
  window_report second(3, 2, 1);
  const auto mine = first.fill(loads[0].data(), 700, links[0]);
  const auto other = second.fill(loads[1].data(), 900, links[1]);
  ASSERT_EQ(mine.size(), other.size());
  for (std::size_t i = 0; i < mine.size(); ++i) mine[i] += other[i];
  longs sums(3);
  measured_times times;
  times.pass_ns.resize(2);
  first.read(sums, times);
  EXPECT_EQ(sums, (longs{11, 22, 33}));
  EXPECT_EQ(times.pass_ns, (longs{700, 900}));
  EXPECT_EQ(times.links.ns, (std::array<std::int64_t, 4>{11, 2, 3, 4}));
  EXPECT_EQ(times.links.bytes, (std::array<std::int64_t, 4>{5, 6, 7, 88}));
}

TEST(window_report, nothing_is_left_of_the_window_before) {
  window_report report(2, 3, 1);
  std::ranges::fill(report.fill(longs{1, 2}.data(), 3, {{1, 1, 1, 1}, {1, 1, 1, 1}}), 9);
  const auto now = report.fill(longs{4, 5}.data(), 6, {});
  EXPECT_EQ(longs(now.begin(), now.end()), (longs{4, 5, 0, 6, 0, 0, 0, 0, 0, 0, 0, 0, 0}));
}

}  // namespace
}  // namespace ballast
