#include "policies/redundancy.hpp"

#include <gtest/gtest.h>

#include <numeric>
#include <stdexcept>

#include "tests/policies/scenario.hpp"

namespace ballast {
namespace {

using longs = std::vector<std::int64_t>;
using ints = std::vector<std::int32_t>;

testing::scenario shape_of(const longs& loads, int layers, int experts, int ranks) {
  testing::scenario made =
      testing::uniform_scenario(loads, layers, experts, ranks, (experts + ranks - 1) / ranks);
  made.request.policy = "flow";
  return made;
}

/// The fullest rank of one layer planned from nothing with so many slots on every rank, or fewer.
scaled_load fullest_of(const testing::scenario& made, int layer, int fewest, int slots) {
  const int experts = made.current.experts();
  const longs loads(made.loads.begin() + layer * experts,
                    made.loads.begin() + (layer + 1) * experts);
  scaled_load best = -1;
  for (int count = fewest; count <= slots; ++count) {
    testing::scenario one =
        testing::uniform_scenario(loads, 1, experts, made.current.layout().ranks(), count);
    one.request = made.request;
    one.request.cold_start = true;
    const scaled_load fullest = make_plan(one.get()).layers[0].max_after;
    if (best < 0 || fullest < best) best = fullest;
  }
  return best;
}

/// Of all ways to deal the budget out, by trying them.
scaled_load least_sum(std::span<const std::vector<scaled_load>> by_extra, std::size_t left) {
  if (by_extra.empty()) return 0;
  scaled_load least = -1;
  for (std::size_t more = 0; more < by_extra[0].size() && more <= left; ++more) {
    const scaled_load sum = by_extra[0][more] + least_sum(by_extra.subspan(1), left - more);
    if (least < 0 || sum < least) least = sum;
  }
  return least;
}

TEST(redundancy, slots_are_those_that_help_most_of_all_ways_to_deal_them_out) {
  for (unsigned seed = 1; seed <= 40; ++seed) {
    testing::generator random(seed);
    const int layers = 1 + static_cast<int>(random.below(4));
    const int ranks = 1 + static_cast<int>(random.below(4));
    const int experts = ranks + static_cast<int>(random.below(7));
    longs loads;
    for (int i = 0; i < layers * experts; ++i) {
      loads.push_back(seed % 5 == 0   ? 0
                      : seed % 5 == 1 ? random.below(3)
                                      : testing::log_normal_load(random));
    }
    testing::scenario made = shape_of(loads, layers, experts, ranks);
    made.request.policy = seed % 2 == 0 ? "flow" : "deepseek";
    const int fewest = (experts + ranks - 1) / ranks;
    const int extra = static_cast<int>(random.below(4));
    const slot_choice choice = choose_slots({made.get(), fewest * layers + extra});
    ASSERT_EQ(choice.slots.size(), static_cast<std::size_t>(layers)) << seed;
    EXPECT_LE(std::accumulate(choice.slots.begin(), choice.slots.end(), 0),
              fewest * layers + extra);
    // More than a slot that brings nothing for long is not waited for: a budget of three is within
    // that.
    std::vector<std::vector<scaled_load>> by_extra(static_cast<std::size_t>(layers));
    scaled_load sum = 0;
    scaled_load total = 0;
    for (int layer = 0; layer < layers; ++layer) {
      for (int more = 0; more <= extra && fewest + more <= experts; ++more) {
        by_extra[layer].push_back(fullest_of(made, layer, fewest, fewest + more));
      }
      EXPECT_GE(choice.slots[layer], fewest) << seed;
      EXPECT_LE(choice.slots[layer], experts) << seed;
      EXPECT_TRUE(choice.chosen[layer].max_after ==
                  by_extra[layer][static_cast<std::size_t>(choice.slots[layer] - fewest)])
          << seed;
      EXPECT_TRUE(choice.fewest[layer].max_after == by_extra[layer][0]) << seed;
      sum += choice.chosen[layer].max_after;
      total += choice.chosen[layer].total;
    }
    // A layer within a part in 4096 of its mean is left alone.
    const scaled_load least = least_sum(by_extra, static_cast<std::size_t>(extra));
    EXPECT_TRUE(sum >= least && sum - least <= total / ranks / 4096 + layers) << seed;
  }
}

TEST(redundancy, a_layer_with_a_hot_expert_gets_what_an_even_layer_does_not_need) {
  testing::scenario made = shape_of({10, 10, 10, 10, 100, 1, 1, 1, 10, 10, 10, 10}, 3, 4, 4);
  const slot_choice choice = choose_slots({made.get(), 4});
  EXPECT_EQ(choice.slots, (ints{1, 2, 1}));
  EXPECT_EQ(choose_slots({made.get(), 12}).slots, choice.slots) << "more are of no use";
  EXPECT_EQ(choose_slots({made.get(), 3}).slots, (ints{1, 1, 1}));
  EXPECT_DOUBLE_EQ(choice.balance(choice.fewest), (40 + 103 + 40) / 4.0 / (10 + 100 + 10));
  EXPECT_NEAR(choice.balance(choice.chosen), 1, 1e-4);
}

TEST(redundancy, the_slots_plan_as_well_as_they_promised) {
  testing::generator random(5);
  longs loads;
  for (int i = 0; i < 6 * 48; ++i) loads.push_back(testing::log_normal_load(random));
  testing::scenario made = shape_of(loads, 6, 48, 8);
  const slot_choice choice = choose_slots({made.get(), 6 * 6 + 3});
  const int rows = *std::max_element(choice.slots.begin(), choice.slots.end());
  const slot_layout layout = slot_layout::uniform(8, rows);
  made.current = initial_placement(6, 48, layout, ints(8, rows), choice.slots);
  made.request.slots_per_layer = choice.slots;
  made.request.cold_start = true;
  const plan planned = make_plan(made.get());
  for (int layer = 0; layer < 6; ++layer) {
    EXPECT_TRUE(planned.layers[layer].max_after == choice.chosen[layer].max_after) << layer;
  }
}

TEST(redundancy, dead_ranks_host_nothing_of_the_budget) {
  testing::scenario made = shape_of(longs(24, 10), 2, 12, 4);
  made.request.masked_ranks = {0, 1, 0, 0};
  EXPECT_EQ(choose_slots({made.get(), 8}).slots, (ints{4, 4}));
  EXPECT_THROW(choose_slots({made.get(), 7}), std::invalid_argument);
}

TEST(redundancy, a_budget_that_cannot_host_every_expert_is_refused) {
  testing::scenario made = shape_of(longs(12, 1), 3, 4, 2);
  const auto why = [&](std::int64_t budget) -> std::string {
    try {
      choose_slots({made.get(), budget});
    } catch (const std::invalid_argument& e) {
      return e.what();
    }
    return "";
  };
  EXPECT_EQ(why(5),
            "slots_budget: 5 slots of a rank in all layers are fewer than the 6 that one replica "
            "of every expert takes");
  made.loads[5] = -1;
  EXPECT_EQ(why(50), "loads: layer 1 expert 1: -1 is negative");
}

}  // namespace
}  // namespace ballast
