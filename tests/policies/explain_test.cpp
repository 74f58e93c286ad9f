#include "policies/explain.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>

#include "policies/balance.hpp"
#include "tests/policies/flow_layers.hpp"
#include "tests/policies/scenario.hpp"

namespace ballast {
namespace {

using ints = std::vector<std::int32_t>;

layer_explanation explain(const testing::scenario& s, const plan& planned, int layer) {
  const auto experts = static_cast<std::size_t>(s.current.experts());
  return explain_layer(std::span(s.loads).subspan(layer * experts, experts), s.current.layout(),
                       {s.current.experts_of(layer), s.current.shares_of(layer)},
                       {planned.target.experts_of(layer), planned.target.shares_of(layer)});
}

testing::scenario small_scenario(std::uint64_t seed, const std::string& policy) {
  testing::generator random(seed);
  const int ranks = 2 + static_cast<int>(random.below(6));
  const int slots = 1 + static_cast<int>(random.below(4));
  const int experts = 1 + static_cast<int>(random.below(ranks * slots));
  testing::scenario s = testing::uniform_scenario(testing::log_normal_loads(seed, 2, experts), 2,
                                                  experts, ranks, slots);
  s.request.policy = policy;
  s.request.limits.max_moves_per_layer = static_cast<std::int64_t>(seed % 7) - 1;
  return s;
}

/// The fullest rank of these experts with shares at will, from cuts; as a fraction of tokens.
testing::ratio fullest_of(const testing::scenario& s, int layer, const ints& experts) {
  const auto count = static_cast<std::size_t>(s.current.experts());
  const auto row = std::span(s.loads).subspan(layer * count, count);
  return testing::smallest_maximum({s.current.layout(), {row.begin(), row.end()}, experts});
}

TEST(explain, steps_lead_from_the_current_placement_to_the_target_without_breaking_a_rule) {
  int steps = 0;
  for (const char* policy : {"flow", "deepseek", "random"}) {
    for (std::uint64_t seed = 1; seed <= 300; ++seed) {
      testing::scenario s = small_scenario(seed, policy);
      const plan planned = make_plan(s.get());
      for (int layer = 0; layer < 2; ++layer) {
        const std::string what = policy + (", seed " + std::to_string(seed));
        const layer_explanation why = explain(s, planned, layer);
        placement now = s.current;
        scaled_load max = why.max_reshared;
        for (const plan_step& step : why.steps) {
          ++steps;
          ASSERT_FALSE(step.changes.empty()) << what;
          for (const slot_change& change : step.changes) {
            EXPECT_EQ(now.experts_of(layer)[change.slot], change.from) << what;
            now.experts_of(layer)[change.slot] = change.to;
          }
          set_equal_shares(now.experts_of(layer), now.experts(), now.shares_of(layer));
          EXPECT_EQ(why_illegal(now, false), "") << what;
          EXPECT_TRUE(step.max_before == max) << what;
          max = step.max_after;
        }
        EXPECT_TRUE(std::ranges::equal(now.experts_of(layer), planned.target.experts_of(layer)))
            << what;
        EXPECT_TRUE(why.max_before == planned.layers[layer].max_before) << what;
        EXPECT_TRUE(why.max_after == planned.layers[layer].max_after) << what;
        // But for the rounding of shares, the last step reaches what was planned.
        const double planned_max = static_cast<double>(why.max_after);
        EXPECT_NEAR(static_cast<double>(max), planned_max, 1e-3 * planned_max) << what;
      }
    }
  }
  EXPECT_GT(steps, 500);
}

TEST(explain, maxima_of_flow_are_those_of_the_minimum_cut) {
  for (std::uint64_t seed = 1; seed <= 300; ++seed) {
    testing::scenario s = small_scenario(seed, "flow");
    const plan planned = make_plan(s.get());
    for (int layer = 0; layer < 2; ++layer) {
      ints shares(static_cast<std::size_t>(s.current.slots()));
      set_equal_shares(planned.target.experts_of(layer), s.current.experts(), shares);
      if (std::ranges::equal(shares, planned.target.shares_of(layer))) continue;
      const std::string what = "seed " + std::to_string(seed);
      const layer_explanation why = explain(s, planned, layer);
      ints now(s.current.experts_of(layer).begin(), s.current.experts_of(layer).end());
      const auto expect_exact = [&](scaled_load max) {
        const testing::ratio best = fullest_of(s, layer, now);
        const scaled_load rounded_up =
            (static_cast<scaled_load>(best.load) * share_one + best.ranks - 1) / best.ranks;
        EXPECT_TRUE(max == rounded_up)
            << what << " " << static_cast<double>(max) << " " << static_cast<double>(rounded_up);
      };
      expect_exact(why.max_reshared);
      for (const plan_step& step : why.steps) {
        for (const slot_change& change : step.changes) now[change.slot] = change.to;
        expect_exact(step.max_after);
      }
    }
  }
}

TEST(explain, first_step_is_the_one_that_helps_most) {
  int compared = 0;
  for (std::uint64_t seed = 1; seed <= 800; ++seed) {
    testing::scenario s = small_scenario(seed, "flow");
    const plan planned = make_plan(s.get());
    const layer_explanation why = explain(s, planned, 0);
    if (why.steps.size() < 2) continue;
    const double chosen = static_cast<double>(why.steps[0].max_after) / share_one;
    const ints start(s.current.experts_of(0).begin(), s.current.experts_of(0).end());
    for (const plan_step& other : why.steps) {
      ints now = start;
      for (const slot_change& change : other.changes) now[change.slot] = change.to;
      placement tried = s.current;
      std::ranges::copy(now, tried.experts_of(0).begin());
      set_equal_shares(tried.experts_of(0), tried.experts(), tried.shares_of(0));
      if (!why_illegal(tried, false).empty()) continue;  // it needs the steps before it
      const testing::ratio best = fullest_of(s, 0, now);
      EXPECT_LE(chosen, static_cast<double>(best.load) / best.ranks * (1 + 2.0 / 4096) + 1)
          << "seed " << seed;
      ++compared;
    }
  }
  EXPECT_GT(compared, 200);
}

TEST(explain, a_swap_is_one_step_and_names_the_rank_that_it_relieves) {
  const std::vector<std::int64_t> loads = {90, 80, 10, 20};
  const slot_layout layout = slot_layout::uniform(2, 2);
  const ints now = {0, 1, 2, 3};
  const ints then = {0, 3, 2, 1};
  const ints shares(4, share_one);
  const layer_explanation why = explain_layer(loads, layout, {now, shares}, {then, shares});
  EXPECT_TRUE(why.max_before == 170 * share_one);
  EXPECT_TRUE(why.max_reshared == 170 * share_one);
  ASSERT_EQ(why.steps.size(), 1u);
  const plan_step& swap = why.steps[0];
  ASSERT_EQ(swap.changes.size(), 2u);
  EXPECT_EQ(swap.changes[0].slot, 1);
  EXPECT_EQ(swap.changes[0].from, 1);
  EXPECT_EQ(swap.changes[0].to, 3);
  EXPECT_TRUE(swap.max_after == 110 * share_one);
  EXPECT_EQ(swap.relieved_rank, 0);
  EXPECT_TRUE(swap.relieves_fullest);
  EXPECT_TRUE(swap.relieved_before == 170 * share_one && swap.relieved_after == 110 * share_one);
}

TEST(explain, loads_of_ranks_that_differ_in_speed_are_levels) {
  const std::vector<std::int64_t> loads = {90, 80, 10, 20};
  const slot_layout layout = slot_layout::uniform(2, 2);
  const ints now = {0, 1, 2, 3};
  const ints then = {0, 3, 2, 1};
  const ints shares(4, share_one);
  const ints speeds = {1, 3};  // mean 2
  const layer_explanation why =
      explain_layer(loads, layout, {now, shares}, {then, shares}, {speeds, 4, 2});
  EXPECT_TRUE(why.max_before == 170 * 2 * share_one);
  ASSERT_EQ(why.steps.size(), 1u);
  EXPECT_TRUE(why.steps[0].max_after == 110 * 2 * share_one);
  EXPECT_TRUE(why.max_after == 110 * 2 * share_one);
}

TEST(explain, shares_alone_are_told_apart_from_moves) {
  // Expert 0 on both ranks, equally shared although rank 0 has more besides.
  const std::vector<std::int64_t> loads = {100, 40, 20, 0};
  const slot_layout layout = slot_layout::uniform(2, 2);
  const ints now = {0, 1, 0, 2};
  const ints equal = {share_one / 2, share_one, share_one / 2, share_one};
  const ints uneven = {share_one * 2 / 5, share_one, share_one - share_one * 2 / 5, share_one};
  const std::vector<std::int64_t> three(loads.begin(), loads.begin() + 3);
  const layer_explanation why = explain_layer(three, layout, {now, equal}, {now, uneven});
  EXPECT_TRUE(why.max_before == 90 * share_one);
  EXPECT_TRUE(why.max_reshared == 80 * share_one);
  EXPECT_TRUE(why.steps.empty());
}

}  // namespace
}  // namespace ballast
