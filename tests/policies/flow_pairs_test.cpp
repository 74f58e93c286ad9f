#include "policies/flow_pairs.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>

#include "policies/balance.hpp"
#include "policies/deepseek.hpp"
#include "policies/limits.hpp"
#include "policies/plan.hpp"
#include "tests/policies/scenario.hpp"

namespace ballast {
namespace {

using ints = std::vector<std::int32_t>;
using longs = std::vector<std::int64_t>;

/// As likely up as down, by up to `permille`.
longs varied(testing::generator& random, const longs& loads, int permille) {
  longs result = loads;
  for (std::int64_t& load : result)
    load += load * (random.below(2 * permille + 1) - permille) / 1000;
  return result;
}

ints greedy(const longs& loads, int ranks) {
  ints slots(static_cast<std::size_t>(2 * ranks));
  deepseek_planner({static_cast<int>(loads.size()), 1, 1, ints(slots.size() / 2, 2), false})
      .plan_layer(loads, slot_layout::uniform(ranks, 2), slots);
  return slots;
}

double fullest(const longs& loads, const ints& slots) {
  const auto experts = static_cast<int>(loads.size());
  const slot_layout layout = slot_layout::uniform(static_cast<int>(slots.size() / 2), 2);
  ints shares(slots.size());
  set_equal_shares(slots, experts, shares);
  return static_cast<double>(fullest_rank_load(loads, slots, shares, layout));
}

std::int64_t arrivals(const ints& from, const ints& to, int experts) {
  const slot_layout layout = slot_layout::uniform(static_cast<int>(from.size() / 2), 2);
  return arrival_counter(experts).count(layout, from, to);
}

TEST(flow_pairs, heavy_ones_stay_and_the_light_ones_beside_them_change_places) {
  const longs loads{100, 90, 80, 30, 20, 10};
  const ints start{0, 3, 1, 4, 2, 5};  // 130, 110, 90
  flow_pairs pairs;
  ASSERT_TRUE(pairs.pair({loads, loads, start, start, -1}));
  const ints made(pairs.slots().begin(), pairs.slots().end());
  EXPECT_EQ(made, (ints{0, 5, 1, 4, 2, 3}));  // 110 each
  EXPECT_EQ(arrivals(start, made, 6), 2);
}

TEST(flow_pairs, the_newest_loads_come_first) {
  const longs newest{100, 100, 20, 0};
  const longs expected{100, 60, 40, 10};
  const ints start{0, 2, 1, 3};
  flow_pairs pairs;
  ASSERT_TRUE(pairs.pair({newest, newest, start, start, -1}));
  EXPECT_EQ(ints(pairs.slots().begin(), pairs.slots().end()), start);
  ASSERT_TRUE(pairs.pair({newest, expected, start, start, -1}));  // 110 and 100 for 140 and 70
  EXPECT_EQ(ints(pairs.slots().begin(), pairs.slots().end()), (ints{0, 3, 1, 2}));
}

TEST(flow_pairs, leave_to_the_search_what_is_not_whole) {
  const longs loads{100, 90, 80};
  flow_pairs pairs;
  for (const ints& start : {ints{0, 1, 0, 1}, ints{0, 1, 2, no_expert}})
    EXPECT_FALSE(pairs.pair({loads, loads, start, start, -1}));
  const ints start{0, 1, 2, 1};
  EXPECT_FALSE(pairs.pair({loads, longs(3, 0), start, start, -1}));
  EXPECT_TRUE(pairs.pair({loads, loads, start, start, -1}));
}

TEST(flow_pairs, all_are_hosted_once_a_rank_within_the_moves) {
  flow_pairs pairs;
  int found = 0;
  for (unsigned seed = 1; seed <= 300; ++seed) {
    testing::generator random(seed);
    const int ranks = 2 + static_cast<int>(random.below(20));
    const int experts = ranks + static_cast<int>(random.below(ranks + 1));
    const longs before = testing::log_normal_loads(seed, 1, experts);
    const ints start = greedy(before, ranks);
    bool legal = true;
    for (int rank = 0; rank < ranks; ++rank)
      legal = legal && start[2 * rank] != start[2 * rank + 1];
    if (!legal) continue;
    const longs newest = varied(random, before, 400);
    const longs expected = varied(random, newest, 300);
    const std::int64_t moves = random.below(2 * ranks) - 1;
    if (!pairs.pair({newest, expected, start, start, moves})) continue;
    ++found;
    const ints made(pairs.slots().begin(), pairs.slots().end());
    ints hosts(static_cast<std::size_t>(experts), 0);
    for (const std::int32_t expert : made) {
      ASSERT_NE(expert, no_expert) << "seed " << seed;
      ++hosts[expert];
    }
    EXPECT_GT(std::ranges::min(hosts), 0) << "seed " << seed;
    for (int rank = 0; rank < ranks; ++rank)
      EXPECT_NE(made[2 * rank], made[2 * rank + 1]) << "seed " << seed;
    EXPECT_LE(arrivals(start, made, experts), moves < 0 ? 2 * ranks : moves) << "seed " << seed;
  }
  EXPECT_GT(found, 150);
}

TEST(flow_pairs, are_as_even_as_the_greedy_makes_them_for_a_third_of_the_moves) {
  flow_pairs pairs;
  for (const unsigned seed : {1, 2, 3, 4, 5}) {
    testing::generator random(seed);
    const longs before = testing::log_normal_loads(seed, 1, 128);
    const ints start = greedy(before, 72);
    const longs loads = varied(random, before, 150);
    ASSERT_TRUE(pairs.pair({loads, loads, start, start, -1}));
    const ints made(pairs.slots().begin(), pairs.slots().end());
    const ints afresh = greedy(loads, 72);
    EXPECT_LE(fullest(loads, made), fullest(loads, afresh) * 1.0005) << "seed " << seed;
    EXPECT_LT(3 * arrivals(start, made, 128), arrivals(start, afresh, 128)) << "seed " << seed;
  }
}

TEST(flow_pairs, flow_makes_two_slots_a_rank_even_for_what_has_been_and_for_what_comes) {
  double made_newest = 0, made_coming = 0, afresh_newest = 0, afresh_coming = 0;
  for (unsigned seed = 1; seed <= 8; ++seed) {
    testing::generator random(seed);
    const longs before = testing::log_normal_loads(seed, 1, 128);
    testing::scenario s = testing::uniform_scenario(before, 1, 128, 72, 2);
    std::ranges::copy(greedy(before, 72), s.current.experts_of(0).begin());
    set_equal_shares(s.current.experts_of(0), 128, s.current.shares_of(0));
    s.loads = varied(random, before, 150);
    const longs newest = s.loads;
    longs deviations;
    for (int k = 0; k < 8; ++k) {
      const longs coming = varied(random, newest, 150);
      for (std::size_t i = 0; i < coming.size(); ++i) deviations.push_back(coming[i] - newest[i]);
    }
    s.request.policy = "flow";
    s.request.series = newest;
    s.request.deviations = deviations;
    s.request.limits.max_moves_per_layer = 32;
    const plan made = make_plan(s.get());
    const ints afresh = greedy(newest, 72);
    const auto level = [&](const longs& loads) {
      return static_cast<double>(fullest_rank_load(loads, made.target.experts_of(0),
                                                   made.target.shares_of(0), made.target.layout()));
    };
    made_newest += level(newest);
    afresh_newest += fullest(newest, afresh);
    for (int k = 0; k < 20; ++k) {
      const longs coming = varied(random, newest, 150);
      made_coming += level(coming);
      afresh_coming += fullest(coming, afresh);
    }
  }
  EXPECT_LT(made_newest, afresh_newest * 1.0005);
  EXPECT_LT(made_coming, afresh_coming * 1.005);
}

}  // namespace
}  // namespace ballast
