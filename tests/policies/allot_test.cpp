#include "policies/allot.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>

#include "tests/policies/synthetic_loads.hpp"

namespace ballast {
namespace {

using all_offers = std::vector<std::vector<layer_offer>>;

TEST(allot, moves_go_where_they_buy_most) {
  const all_offers offers = {{{0, 100}, {1, 90}, {2, 85}}, {{0, 100}, {1, 70}, {2, 68}}};
  EXPECT_EQ(allot(offers, 0), (std::vector<std::size_t>{0, 0}));
  EXPECT_EQ(allot(offers, 1), (std::vector<std::size_t>{0, 1}));
  EXPECT_EQ(allot(offers, 2), (std::vector<std::size_t>{1, 1}));
  EXPECT_EQ(allot(offers, 3), (std::vector<std::size_t>{2, 1}));
  EXPECT_EQ(allot(offers, 9), (std::vector<std::size_t>{2, 2}));
}

/// One move alone buys nothing in layer 0, four together most.
TEST(allot, sees_past_a_step_that_gains_little) {
  const all_offers offers = {{{0, 100}, {1, 99}, {4, 20}}, {{0, 100}, {1, 90}}};
  EXPECT_EQ(allot(offers, 4), (std::vector<std::size_t>{2, 0}));
  EXPECT_EQ(allot(offers, 3), (std::vector<std::size_t>{0, 1}));
}

TEST(allot, never_exceeds_the_total_and_is_best_for_concave_offers_of_single_moves) {
  for (std::uint64_t seed = 1; seed <= 500; ++seed) {
    testing::generator random(seed);
    all_offers offers(1 + static_cast<std::size_t>(random.below(4)));
    std::vector<std::int64_t> gains;
    scaled_load sum = 0;
    for (auto& layer : offers) {
      std::int64_t level = 1000;
      std::int64_t gain = 100;
      layer.push_back({0, level});
      sum += level;
      for (int moves = 1; moves <= 5; ++moves) {
        gain = random.below(gain + 1);
        level -= gain;
        gains.push_back(gain);
        layer.push_back({moves, level});
      }
    }
    const std::int64_t total = random.below(12);
    std::sort(gains.rbegin(), gains.rend());
    for (std::size_t i = 0; i < gains.size() && i < static_cast<std::size_t>(total); ++i) {
      sum -= gains[i];
    }
    const auto chosen = allot(offers, total);
    std::int64_t spent = 0;
    scaled_load reached = 0;
    for (std::size_t layer = 0; layer < offers.size(); ++layer) {
      spent += offers[layer][chosen[layer]].moves;
      reached += offers[layer][chosen[layer]].level;
    }
    EXPECT_LE(spent, total) << "seed " << seed;
    EXPECT_LE(static_cast<std::int64_t>(reached), static_cast<std::int64_t>(sum) + 100)
        << "seed " << seed;
    EXPECT_GE(static_cast<std::int64_t>(reached), static_cast<std::int64_t>(sum))
        << "seed " << seed;
  }
}

}  // namespace
}  // namespace ballast
