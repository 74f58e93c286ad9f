#include "policies/prediction.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <stdexcept>

#include "tests/policies/synthetic_loads.hpp"

namespace ballast {
namespace {

using longs = std::vector<std::int64_t>;

constexpr int layers = 3;
constexpr int experts = 20;
constexpr int cells = layers * experts;

forecast foretold(const longs& series, prediction_mode mode = prediction_mode::automatic,
                  int windows = 0, int shift = 1) {
  return predict({series, layers, experts}, {mode, windows, shift});
}

/// Squared distance of two windows as parts of 2^20 tokens a layer.
double distance(std::span<const std::int64_t> a, std::span<const std::int64_t> b) {
  double sum = 0;
  for (std::size_t first = 0; first < a.size(); first += experts) {
    double total_a = 0, total_b = 0;
    for (int i = 0; i < experts; ++i) {
      total_a += static_cast<double>(a[first + i]);
      total_b += static_cast<double>(b[first + i]);
    }
    for (int i = 0; i < experts; ++i) {
      const double off =
          static_cast<double>(a[first + i]) / total_a - static_cast<double>(b[first + i]) / total_b;
      sum += off * off;
    }
  }
  return sum * 1e6;
}

longs popularity(testing::generator& random) {
  longs result;
  for (int cell = 0; cell < cells; ++cell) result.push_back(testing::log_normal_load(random) + 1);
  return result;
}

/// Each cell up or down by up to `permille`.
longs shaken(testing::generator& random, const longs& from, int permille) {
  longs result = from;
  for (auto& load : result) load += load * (random.below(2 * permille + 1) - permille) / 1000;
  return result;
}

/// Each layer scaled to about 2^20 tokens.
longs scaled(longs window) {
  for (std::size_t first = 0; first < window.size(); first += experts) {
    std::int64_t total = 0;
    for (int i = 0; i < experts; ++i) total += window[first + i];
    for (int i = 0; i < experts; ++i) window[first + i] = (window[first + i] << 20) / total;
  }
  return window;
}

void append(longs& series, const longs& window) {
  series.insert(series.end(), window.begin(), window.end());
}

TEST(prediction, one_window_is_its_own_forecast_in_every_mode_and_shows_no_deviation) {
  testing::generator random(1);
  const longs window = popularity(random);
  for (const auto mode : {prediction_mode::automatic, prediction_mode::sum, prediction_mode::decay,
                          prediction_mode::robust}) {
    const forecast next = foretold(window, mode);
    EXPECT_EQ(next.loads, window) << static_cast<int>(mode);
    EXPECT_TRUE(next.deviations.empty());
  }
}

TEST(prediction, a_series_that_never_changes_is_foretold_exactly) {
  testing::generator random(2);
  const longs window = popularity(random);
  longs series;
  for (int i = 0; i < 9; ++i) append(series, window);
  for (const auto mode : {prediction_mode::automatic, prediction_mode::robust}) {
    const forecast next = foretold(series, mode);
    EXPECT_EQ(next.loads, window);
    EXPECT_EQ(next.deviations, longs(8 * cells, 0));
  }
  EXPECT_EQ(foretold(series, prediction_mode::decay, 0, 3).loads, window);
}

TEST(prediction, noise_about_a_mean_calls_for_a_long_memory) {
  for (const int seed : {3, 4, 5, 6}) {
    testing::generator random(seed);
    const longs mean = popularity(random);
    longs series, last;
    for (int i = 0; i < 40; ++i) append(series, last = shaken(random, mean, 400));
    EXPECT_LT(distance(foretold(series).loads, mean), distance(last, mean) / 8) << seed;
  }
}

TEST(prediction, a_walk_calls_for_a_short_memory) {
  for (const int seed : {7, 8, 9, 10}) {
    testing::generator random(seed);
    longs now = popularity(random);
    longs series;
    for (int i = 0; i < 40; ++i) append(series, now = shaken(random, now, 200));
    const longs mean = foretold(series, prediction_mode::robust, 8).loads;
    EXPECT_LT(distance(foretold(series).loads, now), distance(mean, now) / 20) << seed;
  }
}

TEST(prediction, memory_does_not_reach_back_over_a_jump_and_calm_times_do_not_fear_one) {
  testing::generator random(11);
  const longs before = popularity(random);
  const longs after = popularity(random);
  longs series;
  for (int i = 0; i < 12; ++i) append(series, shaken(random, before, 100));
  for (int i = 0; i < 6; ++i) append(series, shaken(random, after, 100));
  const forecast next = foretold(series);
  EXPECT_LT(distance(next.loads, after), distance(before, after) / 200);
  // 11 + 5 transitions are calm, and the one between is not among the deviations. The first window
  // after the jump is a situation of its own.
  EXPECT_EQ(next.deviations.size(), 15u * cells);
  for (std::size_t i = 0; i < next.deviations.size(); ++i) {
    const std::int64_t load = next.loads[i % cells];
    EXPECT_LE(std::abs(next.deviations[i]), load / 3) << i;
  }
}

TEST(prediction, a_change_that_takes_two_windows_is_foretold_from_its_first_half) {
  testing::generator random(12);
  longs now = scaled(popularity(random));
  longs series, other;
  for (int change = 0; change < 3; ++change) {
    for (int i = 0; i < 6; ++i) append(series, shaken(random, now, 50));
    other = scaled(popularity(random));
    longs half = now;
    for (int cell = 0; cell < cells; ++cell) half[cell] = (now[cell] + other[cell]) / 2;
    append(series, half);
    if (change == 2) break;
    now = other;
  }
  const forecast next = foretold(series);
  const longs half(series.end() - cells, series.end());
  EXPECT_LT(distance(next.loads, other), distance(half, other) / 10);
  // Two such changes have been seen; one more sample says that this one stops half way.
  ASSERT_EQ(next.deviations.size(), 3u * cells);
  longs stopped = next.loads;
  for (int cell = 0; cell < cells; ++cell) stopped[cell] += next.deviations[2 * cells + cell];
  EXPECT_LT(distance(stopped, half), distance(half, other) / 100);
}

TEST(prediction, sum_decay_and_robust_are_what_they_say) {
  const longs series = {10, 30, 20, 20, 40, 0};
  const auto with = [&](prediction_mode mode, int windows, int shift) {
    return predict({series, 1, 2}, {mode, windows, shift});
  };
  EXPECT_EQ(with(prediction_mode::sum, 0, 1).loads, (longs{70, 50}));
  EXPECT_EQ(with(prediction_mode::sum, 2, 1).loads, (longs{60, 20}));
  EXPECT_EQ(with(prediction_mode::decay, 0, 1).loads, (longs{27, 12}));
  EXPECT_EQ(with(prediction_mode::robust, 2, 1).loads, (longs{30, 10}));
  EXPECT_EQ(with(prediction_mode::robust, 2, 1).deviations, (longs{30, -10}));
  EXPECT_TRUE(with(prediction_mode::sum, 0, 1).deviations.empty());
}

TEST(prediction, the_largest_loads_and_idle_windows_do_no_harm) {
  const std::int64_t most = std::int64_t{1} << 62;
  longs series;
  for (int window = 0; window < 5; ++window) {
    longs loads(cells, 0);
    if (window != 2) {
      loads[3] = most - 1;
      loads[4] = 1;
      loads[experts + 1] = window == 4 ? 0 : 7;  // layer 1 idle in the last, layer 2 always
    }
    append(series, loads);
  }
  for (const auto mode : {prediction_mode::automatic, prediction_mode::sum, prediction_mode::decay,
                          prediction_mode::robust}) {
    const forecast next = foretold(series, mode);
    std::int64_t sum = 0;
    for (int i = 0; i < experts; ++i) {
      ASSERT_GE(next.loads[i], 0);
      sum += next.loads[i];
    }
    EXPECT_GT(next.loads[3], most / 4) << static_cast<int>(mode);
    EXPECT_LE(sum, most);
    EXPECT_EQ(next.loads[2 * experts], 0);
  }
  EXPECT_EQ(foretold(series).loads[experts + 1], 7);
}

TEST(prediction, a_series_that_does_not_fit_is_refused) {
  const longs some(cells + 1, 1);
  EXPECT_THROW(foretold(some), std::invalid_argument);
  EXPECT_THROW(foretold({}), std::invalid_argument);
  EXPECT_THROW(predict({some, 0, 5}, {}), std::invalid_argument);
}

TEST(prediction, modes_have_names) {
  EXPECT_STREQ(prediction_mode_name(0), "auto");
  EXPECT_STREQ(prediction_mode_name(3), "robust");
  EXPECT_EQ(prediction_mode_name(4), nullptr);
  EXPECT_EQ(prediction_mode_name(-1), nullptr);
}

}  // namespace
}  // namespace ballast
