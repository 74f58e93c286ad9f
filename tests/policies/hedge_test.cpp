// `flow` where it is known how loads vary.

#include <gtest/gtest.h>

#include <algorithm>

#include "policies/balance.hpp"
#include "policies/hedge_state.hpp"
#include "policies/plan.hpp"
#include "tests/policies/scenario.hpp"

namespace ballast {
namespace {

using longs = std::vector<std::int64_t>;
using testing::scenario;

/// Every expert by itself up or down by up to `permille`.
longs noise(testing::generator& random, const longs& loads, int samples, int permille) {
  longs result;
  for (int k = 0; k < samples; ++k) {
    for (const std::int64_t load : loads) {
      result.push_back(load * (random.below(2 * permille + 1) - permille) / 1000);
    }
  }
  return result;
}

/// 4 layers of 64 experts on 8 ranks of 9 slots, for `flow` with 16 moves a layer.
scenario uneven_layers(unsigned seed) {
  scenario s = testing::uniform_scenario(testing::log_normal_loads(seed, 4, 64), 4, 64, 8, 9);
  s.request.policy = "flow";
  s.request.limits.max_moves_per_layer = 16;
  return s;
}

double fullest_of_sample(const scenario& s, const plan& made, const longs& deviations,
                         std::size_t sample) {
  longs loads = s.loads;
  for (std::size_t i = 0; i < loads.size(); ++i) {
    loads[i] = std::max<std::int64_t>(loads[i] + deviations[sample * loads.size() + i], 0);
  }
  double sum = 0;
  const auto experts = static_cast<std::size_t>(s.current.experts());
  for (int layer = 0; layer < s.current.layers(); ++layer) {
    const auto own = std::span(loads).subspan(layer * experts, experts);
    double total = 0;
    for (const std::int64_t load : own) total += static_cast<double>(load);
    sum +=
        static_cast<double>(fullest_rank_load(own, made.target.experts_of(layer),
                                              made.target.shares_of(layer), made.target.layout())) /
        total;
  }
  return sum;
}

TEST(hedge, square_roots_are_whole_and_below) {
  for (const std::int64_t value : {0, 1, 2, 3, 4, 15, 16, 17, 99999}) {
    const std::int64_t root = square_root(value);
    EXPECT_LE(root * root, value);
    EXPECT_GT((root + 1) * (root + 1), value);
  }
  EXPECT_EQ(square_root((std::int64_t{1} << 62) - 1), (std::int64_t{1} << 31) - 1);
  EXPECT_EQ(square_root(std::int64_t{1} << 62), std::int64_t{1} << 31);
}

TEST(hedge, windows_that_deviate_alike_are_evener_under_a_hedged_plan) {
  double hedged = 0;
  double bare = 0;
  for (const unsigned seed : {1, 2, 3}) {
    testing::generator random(seed);
    scenario s = uneven_layers(seed);
    const longs known = noise(random, s.loads, 16, 300);
    const longs coming = noise(random, s.loads, 20, 300);
    const plan without = make_plan(s.get());
    s.request.deviations = known;
    const plan with = make_plan(s.get());
    for (std::size_t k = 0; k < 20; ++k) {
      bare += fullest_of_sample(s, without, coming, k);
      hedged += fullest_of_sample(s, with, coming, k);
    }
  }
  EXPECT_LT(hedged, bare * 0.995);
}

TEST(hedge, experts_that_rise_together_part) {
  // Two ranks of two: experts 0 and 1 rise when 2 and 3 fall.
  scenario s = testing::uniform_scenario({100, 100, 100, 100}, 1, 4, 2, 2);
  s.request.policy = "flow";
  longs deviations;
  for (int k = 0; k < 8; ++k) {
    const std::int64_t up = k % 2 == 0 ? 40 : -40;
    for (const std::int64_t off : {up, up, -up, -up}) deviations.push_back(off);
  }
  EXPECT_EQ(make_plan(s.get()).moves(), 0);  // it is even
  s.request.deviations = deviations;
  const plan made = make_plan(s.get());
  EXPECT_EQ(made.moves(), 2);
  const auto experts = made.target.experts_of(0);
  EXPECT_NE(experts[0] / 2, experts[1] / 2);
  EXPECT_LT(made.layers[0].risk_after, made.layers[0].risk_before);
  EXPECT_EQ(made.layers[0].max_after, made.layers[0].max_before);
}

TEST(hedge, experts_part_inside_a_hot_node_while_many_ranks_of_another_idle) {
  // Two nodes of 14 ranks of two, the groups of the first twice as hot.
  longs loads(56, 200);
  std::fill(loads.begin() + 28, loads.end(), 100);
  scenario s = testing::uniform_scenario(loads, 1, 56, 28, 2);
  s.cluster = testing::even_cluster(2, 14);
  s.request.policy = "flow";
  s.request.groups = 2;
  s.request.limits.max_moves_per_layer = 8;
  longs deviations;
  for (int k = 0; k < 8; ++k) {
    longs off(56, 0);
    off[0] = off[1] = k % 2 == 0 ? 80 : -80;
    off[2] = off[3] = -off[0];
    deviations.insert(deviations.end(), off.begin(), off.end());
  }
  s.request.deviations = deviations;
  const plan made = make_plan(s.get());
  const auto experts = made.target.experts_of(0);
  const auto host = [&](std::int32_t expert) {
    return (std::ranges::find(experts, expert) - experts.begin()) / 2;
  };
  EXPECT_NE(host(0), host(1));
  EXPECT_LT(host(0), 14);
  EXPECT_LT(host(1), 14);
  EXPECT_LT(made.layers[0].risk_after, made.layers[0].risk_before);
}

TEST(hedge, the_newest_window_comes_out_evener_if_it_is_known) {
  double known = 0;
  double unknown = 0;
  for (const unsigned seed : {1, 2, 3}) {
    testing::generator random(seed);
    scenario s = uneven_layers(seed);
    const longs deviations = noise(random, s.loads, 16, 300);
    s.request.deviations = deviations;
    longs off = noise(random, s.loads, 1, 300);
    longs newest = s.loads;
    for (std::size_t i = 0; i < newest.size(); ++i) newest[i] += off[i];
    for (auto& value : off) value = 0;
    unknown += fullest_of_sample({newest, s.current, s.cluster}, make_plan(s.get()), off, 0);
    s.request.series = newest;
    known += fullest_of_sample({newest, s.current, s.cluster}, make_plan(s.get()), off, 0);
  }
  EXPECT_LT(known, unknown * 0.995);
}

TEST(hedge, an_idle_newest_window_changes_nothing) {
  scenario s = testing::uniform_scenario(testing::log_normal_loads(5, 2, 32), 2, 32, 4, 9);
  s.request.policy = "flow";
  testing::generator random(5);
  const longs deviations = noise(random, s.loads, 8, 300);
  s.request.deviations = deviations;
  const plan without = make_plan(s.get());
  const longs idle(s.loads.size(), 0);
  s.request.series = idle;
  const plan with = make_plan(s.get());
  for (int layer = 0; layer < 2; ++layer) {
    EXPECT_TRUE(
        std::ranges::equal(with.target.experts_of(layer), without.target.experts_of(layer)));
    EXPECT_TRUE(std::ranges::equal(with.target.shares_of(layer), without.target.shares_of(layer)));
  }
}

TEST(hedge, a_load_that_varies_is_divided_over_its_replicas) {
  // One replica of expert 0 could take all: the ranks would be even either way.
  scenario s = testing::uniform_scenario({100, 50, 50}, 1, 3, 2, 2);
  s.request.policy = "flow";
  const longs deviations = {60, 0, 0, -60, 0, 0, 60, 0, 0, -60, 0, 0};
  s.request.deviations = deviations;
  const plan made = make_plan(s.get());
  ASSERT_EQ(made.target.experts_of(0)[0], 0);
  EXPECT_NEAR(made.target.shares_of(0)[0], share_one / 2, share_one / 50);
}

TEST(hedge, plans_are_legal_within_limits_and_never_riskier_for_any_thread_count) {
  for (unsigned seed = 1; seed <= 60; ++seed) {
    testing::generator random(seed);
    const int ranks = 1 + static_cast<int>(random.below(7));
    const int experts = 1 + static_cast<int>(random.below(23));
    const int slots = (experts + ranks - 1) / ranks + static_cast<int>(random.below(4));
    const int layers = 1 + static_cast<int>(random.below(3));
    longs loads;
    for (int i = 0; i < layers * experts; ++i) {
      loads.push_back(seed % 4 == 0   ? 0
                      : seed % 4 == 1 ? random.below(3)
                                      : testing::log_normal_load(random));
    }
    scenario s = testing::uniform_scenario(loads, layers, experts, ranks, slots);
    s.request.policy = "flow";
    if (seed % 3 == 0) s.request.limits.max_moves_per_layer = random.below(5);
    if (seed % 5 == 0) {
      s.request.expert_bytes = 10;
      s.request.limits.max_bytes_per_rank = 20;
    }
    if (seed % 7 == 0) s.request.rank_speed.assign(ranks, 1), s.request.rank_speed[0] = 65536;
    longs deviations = noise(random, loads, 1 + static_cast<int>(random.below(16)), 900);
    if (seed % 6 == 0) {
      for (auto& off : deviations) {
        off = random.below(2) == 0 ? std::int64_t{1} << 62 : -(std::int64_t{1} << 62);
      }
    }
    s.request.deviations = deviations;
    longs newest;
    if (seed % 2 == 0) {
      for (const std::int64_t load : loads) newest.push_back(load * random.below(2000) / 1000);
      s.request.series = newest;
    }
    const plan made = make_plan(s.get());
    EXPECT_EQ(why_illegal(made.target, false), "") << seed;
    std::vector<int> arrived(ranks, 0);
    for (int layer = 0; layer < layers; ++layer) {
      const layer_outcome& outcome = made.layers[layer];
      EXPECT_LE(outcome.risk_after, outcome.risk_before) << seed;
      if (s.request.limits.max_moves_per_layer >= 0) {
        EXPECT_LE(outcome.moves, s.request.limits.max_moves_per_layer) << seed;
      }
      for (int slot = 0; slot < made.target.slots(); ++slot) {
        const auto now = s.current.experts_of(layer).subspan(slot / slots * slots, slots);
        const std::int32_t expert = made.target.experts_of(layer)[slot];
        if (expert != no_expert && std::ranges::find(now, expert) == now.end())
          ++arrived[slot / slots];
      }
    }
    if (seed % 5 == 0) {
      EXPECT_LE(*std::ranges::max_element(arrived), 2) << seed;
    }
    s.request.threads = 3;
    EXPECT_EQ(make_plan(s.get()).digest, made.digest) << seed;
  }
}

TEST(hedge, without_deviations_risk_is_the_fullest_rank) {
  scenario s = testing::uniform_scenario(testing::log_normal_loads(3, 2, 16), 2, 16, 4, 5);
  s.request.policy = "flow";
  const plan made = make_plan(s.get());
  for (const layer_outcome& outcome : made.layers) {
    EXPECT_EQ(outcome.risk_before, outcome.max_before);
    EXPECT_EQ(outcome.risk_after, outcome.max_after);
  }
}

}  // namespace
}  // namespace ballast
