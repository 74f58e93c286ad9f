// Layers with different numbers of slots.
#include <gtest/gtest.h>

#include <algorithm>

#include "tests/policies/scenario.hpp"

namespace ballast {
namespace {

using ints = std::vector<std::int32_t>;

/// Layers of `slots[layer]` slots a rank in a layout with `rows` rows a rank.
testing::scenario ragged_layers(testing::generator& random, int experts, int ranks, int rows,
                                const ints& slots) {
  std::vector<std::int64_t> loads;
  for (std::size_t i = 0; i < slots.size() * static_cast<std::size_t>(experts); ++i) {
    loads.push_back(testing::log_normal_load(random));
  }
  const slot_layout layout = slot_layout::uniform(ranks, rows);
  const ints usable(static_cast<std::size_t>(ranks), *std::ranges::max_element(slots));
  testing::scenario made(
      std::move(loads),
      initial_placement(static_cast<int>(slots.size()), experts, layout, usable, slots),
      testing::even_cluster(1, ranks));
  made.request.slots_per_layer = slots;
  made.request.spare_rows = rows - usable[0];
  return made;
}

void expect_only_open_slots(const plan_request& request, const placement& target,
                            const std::string& where) {
  ASSERT_EQ(why_illegal(target, false), "") << where;
  const slot_layout& layout = target.layout();
  for (int layer = 0; layer < target.layers(); ++layer) {
    for (int rank = 0; rank < layout.ranks(); ++rank) {
      std::int32_t occupied = 0;
      for (int slot = layout.first(rank); slot < layout.first(rank + 1); ++slot) {
        if (target.experts_of(layer)[slot] == no_expert) continue;
        ++occupied;
        EXPECT_LT(slot - layout.first(rank), request.slots_per_layer[layer] + request.spare_rows)
            << where << " layer " << layer;
      }
      EXPECT_LE(occupied, request.slots_per_layer[layer]) << where << " layer " << layer;
    }
  }
}

TEST(slots_per_layer, no_policy_uses_slots_that_a_layer_does_not_have) {
  for (const char* const policy : policy_names()) {
    for (unsigned seed = 1; seed <= 12; ++seed) {
      testing::generator random(seed);
      const int ranks = 2 + static_cast<int>(random.below(5));
      const int experts = ranks + static_cast<int>(random.below(20));
      const int fewest = (experts + ranks - 1) / ranks;
      ints slots;
      for (int layer = 0; layer < 5; ++layer) {
        slots.push_back(std::min(fewest + static_cast<int>(random.below(3)), experts));
      }
      const int spare = static_cast<int>(random.below(3));
      const int rows = *std::ranges::max_element(slots) + spare;
      testing::scenario made = ragged_layers(random, experts, ranks, rows, slots);
      made.request.policy = policy;
      made.request.cold_start = seed % 2 == 0;
      if (policy == std::string("deepseek-hierarchical")) made.request.groups = 1;
      const std::string where = std::string(policy) + " seed " + std::to_string(seed);
      // Several plans, one after another, for loads that change.
      for (int round = 0; round < 3; ++round) {
        const plan first = make_plan(made.get());
        expect_only_open_slots(made.request, first.target, where);
        made.request.threads = 3;
        EXPECT_EQ(make_plan(made.get()).target, first.target) << where;
        made.request.threads = 1;
        made.current = first.target;
        for (std::int64_t& load : made.loads) load = testing::log_normal_load(random);
      }
    }
  }
}

TEST(slots_per_layer, limits_and_dead_ranks_hold_with_them) {
  for (unsigned seed = 1; seed <= 20; ++seed) {
    testing::generator random(seed);
    testing::scenario made = ragged_layers(random, 16, 5, 7, {4, 5, 6, 4, 6});
    made.request.policy = "flow";
    made.request.limits.max_moves_total = 7;
    const plan limited = make_plan(made.get());
    expect_only_open_slots(made.request, limited.target, "limited");
    EXPECT_LE(limited.moves(), 7) << seed;
    made.request.limits.max_moves_total = -1;
    made.request.masked_ranks = {0, 0, 1, 0, 0};
    const plan masked = make_plan(made.get());
    expect_only_open_slots(made.request, masked.target, "masked");
    for (int layer = 0; layer < 5; ++layer) {
      for (int slot = 14; slot < 21; ++slot) {
        EXPECT_EQ(masked.target.experts_of(layer)[slot], no_expert) << seed;
      }
    }
  }
}

TEST(slots_per_layer, equal_numbers_plan_as_slots_of_all_layers_do) {
  testing::generator random(3);
  testing::scenario made = ragged_layers(random, 32, 8, 5, {5, 5, 5});
  made.request.policy = "flow";
  const plan with = make_plan(made.get());
  made.request.slots_per_layer.clear();
  const plan without = make_plan(made.get());
  EXPECT_EQ(with.target, without.target);
  EXPECT_NE(with.digest, without.digest);
}

TEST(slots_per_layer, what_does_not_fit_is_refused_by_name) {
  testing::generator random(1);
  testing::scenario made = ragged_layers(random, 8, 4, 4, {3, 4});
  made.request.policy = "flow";
  EXPECT_EQ(why_unplannable(made.get()), "");
  made.request.slots_per_layer = {3};
  EXPECT_EQ(why_unplannable(made.get()),
            "slots_per_layer: given for 1 layers, the placement has 2");
  made.request.slots_per_layer = {3, 0};
  EXPECT_EQ(why_unplannable(made.get()), "slots_per_layer: layer 1: 0 is less than 1");
  made.request.slots_per_layer = {3, 3};
  EXPECT_EQ(why_unplannable(made.get()),
            "current: layer 1 slot 3 holds expert 3, but the layer has 3 rows on a rank");
  made.request.spare_rows = -1;
  EXPECT_EQ(why_unplannable(made.get()), "spare_rows: -1 is negative");
  made.request.spare_rows = 3;
  made.request.slots_per_layer = {1, 4};
  EXPECT_EQ(why_unplannable(made.get()),
            "slots_per_layer: 1 slots of a rank are 4 in all, fewer than the 8 experts");
}

}  // namespace
}  // namespace ballast
