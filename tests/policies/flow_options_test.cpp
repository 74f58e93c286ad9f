// `flow` with what an engine may ask of it: groups kept on nodes, equal shares, ranks of different
// speeds.

#include <gtest/gtest.h>

#include <algorithm>
#include <string>

#include "policies/balance.hpp"
#include "tests/policies/scenario.hpp"

namespace ballast {
namespace {

using ints = std::vector<std::int32_t>;
using testing::scenario;

/// 8 experts in 4 groups on 2 nodes of 2 ranks, or a random shape of that kind.
scenario grouped_scenario(std::uint64_t seed, int layers) {
  testing::generator random(seed);
  const int nodes = 2 + static_cast<int>(random.below(3));
  const int ranks_per_node = 1 + static_cast<int>(random.below(4));
  const int groups = nodes * (1 + static_cast<int>(random.below(3)));
  const int members = 1 + static_cast<int>(random.below(5));
  const int experts = groups * members;
  const int ranks = nodes * ranks_per_node;
  const int slots = (experts + ranks - 1) / ranks + static_cast<int>(random.below(3));
  const slot_layout layout = slot_layout::uniform(ranks, slots);
  const ints usable(static_cast<std::size_t>(ranks), std::min(slots, experts));
  scenario s(testing::log_normal_loads(seed, layers, experts),
             initial_placement(layers, experts, layout, usable),
             testing::even_cluster(nodes, ranks_per_node));
  s.request.policy = "flow";
  s.request.groups = groups;
  return s;
}

void expect_groups_on_nodes(const scenario& s, const placement& target, const std::string& what) {
  const int members = target.experts() / s.request.groups;
  for (int layer = 0; layer < target.layers(); ++layer) {
    ints home(static_cast<std::size_t>(s.request.groups), -1);
    for (int slot = 0; slot < target.slots(); ++slot) {
      const std::int32_t expert = target.experts_of(layer)[slot];
      if (expert == no_expert) continue;
      const std::int32_t node = s.cluster.ranks[target.layout().rank_of(slot)].node;
      std::int32_t& known = home[expert / members];
      EXPECT_TRUE(known < 0 || known == node) << what << " layer " << layer << " slot " << slot;
      known = node;
    }
  }
}

TEST(flow_groups, are_kept_on_nodes_from_a_cold_start_and_by_every_plan_after_it) {
  for (std::uint64_t seed = 1; seed <= 300; ++seed) {
    scenario s = grouped_scenario(seed, 2);
    const std::string what = "seed " + std::to_string(seed);
    plan planned = make_plan(s.get());
    expect_groups_on_nodes(s, planned.target, what);
    for (std::uint64_t round = 1; round <= 3; ++round) {
      s.current = planned.target;
      s.loads = testing::log_normal_loads(seed + 1000 * round, 2, s.current.experts());
      s.request.limits.max_moves_per_layer = static_cast<std::int64_t>(5 * round) - 5;
      planned = make_plan(s.get());
      expect_groups_on_nodes(s, planned.target, what);
      for (const layer_outcome& layer : planned.layers) {
        EXPECT_TRUE(layer.max_after <= layer.max_before) << what;
        EXPECT_LE(layer.moves, s.request.limits.max_moves_per_layer) << what;
      }
    }
  }
}

/// From placements where groups are not at home yet, and nodes hold many replicas of a few experts.
TEST(flow_groups, lose_no_expert_when_they_change_nodes) {
  for (std::uint64_t seed = 1; seed <= 300; ++seed) {
    scenario s = grouped_scenario(seed, 2);
    for (std::uint64_t round = 0; round < 4; ++round) {
      s.loads = testing::log_normal_loads(seed + 1000 * round, 2, s.current.experts());
      const std::int64_t most = s.current.slots() * static_cast<std::int64_t>(1 + round % 3) / 3;
      s.request.limits.max_moves_per_layer = most;
      const plan planned = make_plan(s.get());
      for (int layer = 0; layer < 2; ++layer) {
        const auto hosted = planned.target.experts_of(layer);
        EXPECT_LE(planned.layers[layer].moves, most) << "seed " << seed;
        for (std::int32_t expert = 0; expert < s.current.experts(); ++expert) {
          ASSERT_NE(std::ranges::find(hosted, expert), hosted.end()) << "seed " << seed;
        }
      }
      s.current = planned.target;
    }
  }
}

/// Two groups that are hot meet on a node; only changing places with a cold one helps.
TEST(flow_groups, change_nodes_where_that_alone_helps) {
  const slot_layout layout = slot_layout::uniform(4, 2);
  placement current(1, 8, layout);
  std::ranges::copy(ints{0, 2, 1, 3, 4, 6, 5, 7}, current.experts_of(0).begin());
  set_equal_shares(current.experts_of(0), 8, current.shares_of(0));
  scenario s({90, 90, 80, 80, 10, 10, 20, 20}, current, testing::even_cluster(2, 2));
  s.request.policy = "flow";
  s.request.groups = 4;
  s.request.limits.max_moves_per_layer = 4;
  const plan planned = make_plan(s.get());
  expect_groups_on_nodes(s, planned.target, "");
  EXPECT_TRUE(planned.layers[0].max_after == scaled_load{100} * share_one);
  s.request.limits.max_moves_per_layer = 3;
  EXPECT_TRUE(make_plan(s.get()).layers[0].max_after == scaled_load{170} * share_one);
}

TEST(flow_groups, matter_only_where_they_divide_over_the_nodes_and_fit) {
  scenario s = grouped_scenario(5, 1);
  s.request.groups = 1;
  const plan global = make_plan(s.get());
  s.request.groups = static_cast<std::int32_t>(s.cluster.ranks.back().node + 1) * 1000 + 1;
  EXPECT_EQ(make_plan(s.get()).target, global.target);
}

TEST(flow_equal_shares, are_equal_and_no_worse_than_the_greedy) {
  for (std::uint64_t seed = 1; seed <= 60; ++seed) {
    testing::generator random(seed);
    const int experts = 8 + static_cast<int>(random.below(60));
    const int ranks = 2 + static_cast<int>(random.below(16));
    const int slots = (experts + ranks - 1) / ranks + static_cast<int>(random.below(3));
    scenario s = testing::uniform_scenario(testing::log_normal_loads(seed, 2, experts), 2, experts,
                                           ranks, slots);
    const std::string what = "seed " + std::to_string(seed);
    s.request.policy = "deepseek-global";
    const plan greedy = make_plan(s.get());
    s.request.policy = "flow";
    s.request.equal_shares = true;
    const plan planned = make_plan(s.get());
    ints equal(static_cast<std::size_t>(planned.target.slots()));
    for (int layer = 0; layer < 2; ++layer) {
      set_equal_shares(planned.target.experts_of(layer), experts, equal);
      EXPECT_TRUE(std::ranges::equal(equal, planned.target.shares_of(layer))) << what;
      EXPECT_TRUE(planned.layers[layer].max_after <= planned.layers[layer].max_before) << what;
      EXPECT_TRUE(planned.layers[layer].bound <= planned.layers[layer].max_after) << what;
      EXPECT_LE(static_cast<double>(planned.layers[layer].max_after),
                1.0021 * static_cast<double>(greedy.layers[layer].max_after))
          << what;
    }
  }
}

/// The least highest level of any placement of every expert in one slot; each slot holds one.
scaled_load least_level(const scenario& s, const speed_scale& speeds) {
  ints order;
  for (int expert = 0; expert < s.current.experts(); ++expert) order.push_back(expert);
  ints shares(order.size(), share_one);
  scaled_load least = 0;
  do {
    const scaled_load level = fullest_rank_load(s.loads, order, shares, s.current.layout(), speeds);
    if (least == 0 || level < least) least = level;
  } while (std::next_permutation(order.begin(), order.end()));
  return least;
}

TEST(flow_speeds, tiny_layers_without_redundancy_come_out_best) {
  int exact = 0;
  constexpr int cases = 100;
  for (std::uint64_t seed = 1; seed <= cases; ++seed) {
    testing::generator random(seed);
    const int ranks = 2 + static_cast<int>(random.below(3));
    const int experts = ranks * 2;
    scenario s = testing::uniform_scenario(testing::log_normal_loads(seed, 1, experts), 1, experts,
                                           ranks, 2);
    s.request.policy = "flow";
    speed_scale speeds{{}, 0, ranks};
    for (int rank = 0; rank < ranks; ++rank) {
      s.request.rank_speed.push_back(1 + static_cast<std::int32_t>(random.below(4)));
      speeds.sum += s.request.rank_speed.back();
    }
    speeds.speeds = s.request.rank_speed;
    const plan planned = make_plan(s.get());
    const scaled_load least = least_level(s, speeds);
    const std::string what = "seed " + std::to_string(seed);
    EXPECT_TRUE(planned.layers[0].bound <= least) << what;
    EXPECT_TRUE(planned.layers[0].max_after >= least) << what;
    exact += planned.layers[0].max_after == least ? 1 : 0;
  }
  EXPECT_GE(exact, cases * 9 / 10);
}

/// A rank alone with an expert on every rank: shares go by speed, exactly.
TEST(flow_speeds, shares_follow_speeds) {
  const slot_layout layout = slot_layout::uniform(3, 1);
  placement current(1, 1, layout);
  std::ranges::fill(current.experts_of(0), 0);
  set_equal_shares(current.experts_of(0), 1, current.shares_of(0));
  scenario s({1'000'000}, current, testing::even_cluster(1, 3));
  s.request.policy = "flow";
  s.request.rank_speed = {1, 2, 5};
  const plan planned = make_plan(s.get());
  const auto shares = planned.target.shares_of(0);
  EXPECT_EQ(ints(shares.begin(), shares.end()), (ints{8192, 16384, 40960}));
  EXPECT_NEAR(planned.balance_after(), 1.0, 1e-6);
  EXPECT_NEAR(planned.balance_bound(), 1.0, 1e-6);
}

TEST(flow_speeds, are_never_ignored_and_plans_never_worse) {
  for (std::uint64_t seed = 1; seed <= 200; ++seed) {
    testing::generator random(seed);
    scenario s = testing::uniform_scenario(testing::log_normal_loads(seed, 2, 24), 2, 24, 8, 4);
    s.request.policy = "flow";
    for (int rank = 0; rank < 8; ++rank) {
      s.request.rank_speed.push_back(
          seed % 7 == 0 ? speed_max - static_cast<std::int32_t>(random.below(3))
                        : 1 + static_cast<std::int32_t>(random.below(rank % 2 == 0 ? 10 : 1000)));
    }
    s.request.masked_ranks.assign(8, 0);
    s.request.masked_ranks[random.below(8)] = seed % 3 == 0 ? 1 : 0;
    s.request.limits.max_moves_per_layer = static_cast<std::int64_t>(seed % 5) * 4 - 1;
    const plan planned = make_plan(s.get());
    const std::string what = "seed " + std::to_string(seed);
    EXPECT_EQ(why_illegal(planned.target, false), "") << what;
    EXPECT_LE(planned.balance_after(), 1.0 + 1e-9) << what;
    for (const layer_outcome& layer : planned.layers) {
      EXPECT_TRUE(layer.bound <= layer.max_after) << what;
      if (seed % 3 != 0) {
        EXPECT_TRUE(layer.max_after <= layer.max_before) << what;
      }
    }
  }
}

TEST(flow_speeds, all_the_same_change_nothing) {
  scenario s = testing::uniform_scenario(testing::log_normal_loads(9, 2, 24), 2, 24, 8, 4);
  s.request.policy = "flow";
  const plan without = make_plan(s.get());
  s.request.rank_speed.assign(8, 7);
  EXPECT_EQ(make_plan(s.get()).target, without.target);
}

TEST(flow_speeds, out_of_range_is_refused) {
  scenario s = testing::uniform_scenario(testing::log_normal_loads(9, 1, 4), 1, 4, 2, 2);
  s.request.policy = "flow";
  s.request.rank_speed = {1};
  EXPECT_EQ(why_unplannable(s.get()), "rank_speed: given for 1 ranks, the placement has 2");
  s.request.rank_speed = {1, 0};
  EXPECT_EQ(why_unplannable(s.get()), "rank_speed: rank 1: 0 is not in [1, 65536]");
}

}  // namespace
}  // namespace ballast
