// The load window against a naive model that remembers every step's load, driven as the balancer
// drives it.
#include "runtime/load_window.hpp"

#include <gtest/gtest.h>

#include <random>
#include <vector>

namespace ballast {
namespace {

std::vector<std::int64_t> summed(const load_window& window, std::size_t cells) {
  std::vector<std::int64_t> sums(cells, -1);
  window.sum(sums);
  return sums;
}

// What the trigger after step `last` must see: the loads of the last `reach` steps.
std::vector<std::int64_t> last_steps(const std::vector<std::vector<std::int64_t>>& loads,
                                     std::int64_t last, std::int64_t reach, std::size_t cells) {
  std::vector<std::int64_t> sums(cells, 0);
  for (std::int64_t step = std::max<std::int64_t>(0, last - reach + 1); step <= last; ++step) {
    for (std::size_t i = 0; i < cells; ++i) sums[i] += loads[step][i];
  }
  return sums;
}

void check_against_model(std::int64_t interval, std::int64_t window_steps) {
  constexpr std::size_t cells = 5;
  load_window window(cells, interval, window_steps);
  // A window longer than the interval is rounded up to whole intervals.
  const std::int64_t reach =
      window_steps <= interval ? window_steps : (window_steps + interval - 1) / interval * interval;
  std::mt19937_64 random(static_cast<std::uint64_t>(interval * 1000 + window_steps));
  std::vector<std::vector<std::int64_t>> loads;
  for (std::int64_t step = 0; step < 7 * interval + 3 * reach; ++step) {
    loads.emplace_back(cells);
    for (std::int64_t& load : loads.back()) load = static_cast<std::int64_t>(random() % 1000);
    const bool due = interval - step % interval <= reach;
    ASSERT_EQ(window.listens_at(step), due)
        << "interval " << interval << ", window " << window_steps << ", step " << step;
    if (window.listens_at(step)) {
      for (std::size_t i = 0; i < cells; ++i) window.current()[i] += loads.back()[i];
    }
    if ((step + 1) % interval != 0) continue;
    ASSERT_EQ(summed(window, cells), last_steps(loads, step, reach, cells))
        << "interval " << interval << ", window " << window_steps << ", step " << step;
    window.turn();
  }
}

TEST(load_window, sums_the_last_steps_for_windows_shorter_equal_and_longer_than_the_interval) {
  for (const std::int64_t interval : {1, 2, 3, 7, 10}) {
    for (std::int64_t window = 1; window <= 4 * interval + 1; ++window)
      check_against_model(interval, window);
  }
}

TEST(load_window, short_window_listens_only_just_before_the_trigger) {
  const load_window window(1, 100, 3);
  for (std::int64_t step = 0; step < 1000; ++step)
    EXPECT_EQ(window.listens_at(step), step % 100 >= 97) << step;
}

TEST(load_window, new_window_is_all_zero_and_its_buckets_have_the_size_asked_for) {
  for (const std::int64_t length : {1, 10, 25}) {
    load_window window(4, 10, length);
    EXPECT_EQ(window.current().size(), 4u);
    EXPECT_EQ(summed(window, 4), (std::vector<std::int64_t>{0, 0, 0, 0}));
  }
}

TEST(load_window, turning_forgets_the_oldest_interval_only) {
  load_window window(1, 10, 30);
  for (const std::int64_t load : {1, 20, 300}) {
    window.turn();
    window.current()[0] = load;
  }
  EXPECT_EQ(summed(window, 1)[0], 321);
  window.turn();
  EXPECT_EQ(summed(window, 1)[0], 320);
  window.turn();
  EXPECT_EQ(summed(window, 1)[0], 300);
  window.turn();
  EXPECT_EQ(summed(window, 1)[0], 0);
}

}  // namespace
}  // namespace ballast
