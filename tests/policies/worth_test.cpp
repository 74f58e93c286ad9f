// Hysteresis against the same comparison in exact fractions, at and around its thresholds, and what
// it says.
#include "policies/worth.hpp"

#include <gtest/gtest.h>

#include <random>

namespace ballast {
namespace {

// A plan of one layer whose rank loads have this total and these maxima.
plan plan_of(std::int64_t total, std::int64_t before, std::int64_t after, std::int32_t moves = 1) {
  plan p;
  p.changed = {0};
  p.layers.resize(1);
  p.layers[0].total = total;
  p.layers[0].max_before = p.layers[0].risk_before = before;
  p.layers[0].max_after = p.layers[0].risk_after = after;
  p.layers[0].moves = moves;
  return p;
}

TEST(worth, plan_that_changes_nothing_is_not_worth_it) {
  plan p = plan_of(100, 50, 30, 0);
  p.changed.clear();
  EXPECT_EQ(why_not_worth(p, 4, {}), "the plan changes nothing");
}

TEST(worth, empty_window_is_not_worth_it) {
  EXPECT_EQ(why_not_worth(plan_of(0, 0, 0), 4, {}), "the window is empty");
}

TEST(worth, plan_without_moves_needs_no_gain) {
  EXPECT_EQ(why_not_worth(plan_of(100, 50, 50, 0), 4, {1000, 1000}), "");
  EXPECT_NE(why_not_worth(plan_of(100, 50, 50, 1), 4, {1000, 1000}), "");
}

TEST(worth, balance_at_or_above_the_threshold_stays_as_it_is) {
  // 4 ranks, 900 in all, the fullest 250: balance 0.9.
  EXPECT_EQ(why_not_worth(plan_of(900, 250, 225), 4, {901, 0}), "");
  EXPECT_EQ(why_not_worth(plan_of(900, 250, 225), 4, {900, 0}),
            "balanced: 900 permille, asked for 900");
  EXPECT_EQ(why_not_worth(plan_of(900, 250, 225, 0), 4, {900, 0}),
            "balanced: 900 permille, asked for 900");
  EXPECT_EQ(why_not_worth(plan_of(900, 225, 225, 0), 4, {1000, 0}), "") << "1000 is no threshold";
}

TEST(worth, gain_must_reach_what_is_asked_for) {
  // From 0.9 to 1.0.
  EXPECT_EQ(why_not_worth(plan_of(900, 250, 225), 4, {1000, 100}), "");
  EXPECT_EQ(why_not_worth(plan_of(900, 250, 225), 4, {1000, 101}),
            "gain too small: 900 permille to 1000 permille, asked for 101");
  EXPECT_EQ(why_not_worth(plan_of(900, 250, 250), 4, {1000, 0}), "");
  EXPECT_EQ(why_not_worth(plan_of(900, 250, 251), 4, {1000, 0}),
            "gain too small: 900 permille to 896 permille, asked for 0");
}

TEST(worth, a_gain_is_one_of_risk_where_loads_are_known_to_vary) {
  plan p = plan_of(900, 250, 251);
  p.layers[0].risk_before = 300;
  p.layers[0].risk_after = 250;
  EXPECT_EQ(why_not_worth(p, 4, {1000, 150}), "");
  EXPECT_EQ(why_not_worth(p, 4, {1000, 151}),
            "gain too small: 750 permille to 900 permille, asked for 151");
  EXPECT_EQ(why_not_worth(p, 4, {900, 0}), "balanced: 900 permille, asked for 900");
}

TEST(worth, balance_is_that_of_all_layers_together) {
  plan p = plan_of(900, 250, 225);
  p.layers.push_back(p.layers[0]);
  p.layers[1].total = 100000;
  p.layers[1].max_before = p.layers[1].max_after = 25000;
  p.layers[1].risk_before = p.layers[1].risk_after = 25000;
  EXPECT_NE(why_not_worth(p, 4, {1000, 5}), "") << "the large layer was balanced all along";
}

TEST(worth, decisions_are_those_of_exact_fractions) {
  using wide = scaled_load;
  for (std::uint64_t seed = 0; seed < 20000; ++seed) {
    std::mt19937_64 random(seed);
    const int ranks = static_cast<int>(1 + random() % 16);
    const auto before = static_cast<std::int64_t>(1 + random() % 3000);
    const auto after = static_cast<std::int64_t>(1 + random() % 3000);
    const auto total =
        static_cast<std::int64_t>(1 + random() % (std::uint64_t(ranks) * std::min(before, after)));
    const worth_limits limits = {static_cast<std::int32_t>(random() % 1001),
                                 static_cast<std::int32_t>(random() % 200)};
    // balance = total / (ranks * max)
    const bool balanced = limits.balance_min_permille < 1000 &&
                          wide(total) * 1000 >= wide(ranks) * before * limits.balance_min_permille;
    const bool gains = wide(total) * 1000 * before - wide(total) * 1000 * after >=
                       wide(limits.gain_min_permille) * ranks * before * after;
    ASSERT_EQ(why_not_worth(plan_of(total, before, after), ranks, limits).empty(),
              !balanced && gains)
        << "seed " << seed << ": " << total << " " << before << " " << after;
  }
}

TEST(worth, largest_loads_do_not_overflow) {
  // 4096 layers of 2^62 tokens in units of 1/65536 token on 16384 ranks.
  const scaled_load total = scaled_load{1} << 78;
  plan p;
  p.changed = {0};
  p.layers.resize(4096);
  for (layer_outcome& layer : p.layers) {
    layer.total = total;
    layer.max_before = layer.risk_before = total;
    layer.max_after = layer.risk_after = total / 16384;
    layer.moves = 1;
  }
  EXPECT_EQ(why_not_worth(p, 16384, {1000, 900}), "");
  for (layer_outcome& layer : p.layers) layer.risk_after = layer.max_after = total;
  EXPECT_EQ(why_not_worth(p, 16384, {1000, 1}),
            "gain too small: 0 permille to 0 permille, asked for 1");
  for (layer_outcome& layer : p.layers) layer.risk_before = layer.max_before = total / 16384;
  EXPECT_EQ(why_not_worth(p, 16384, {999, 1}), "balanced: 1000 permille, asked for 999");
}

}  // namespace
}  // namespace ballast
