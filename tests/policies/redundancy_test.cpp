#include "policies/redundancy.hpp"

#include <gtest/gtest.h>

#include <numeric>
#include <stdexcept>

#include "policies/balance.hpp"
#include "tests/policies/synthetic_loads.hpp"

namespace ballast {
namespace {

using longs = std::vector<std::int64_t>;
using ints = std::vector<std::int32_t>;

/// What the fullest ranks of all layers carry at least with these slots; more never hurt, since
/// slots may stay empty.
scaled_load sum_of_fullest(const redundancy_budget& budget, const ints& slots) {
  scaled_load sum = 0;
  for (int layer = 0; layer < budget.layers; ++layer) {
    const auto loads = budget.loads.subspan(layer * budget.experts, budget.experts);
    const int fewest = (budget.experts + budget.ranks - 1) / budget.ranks;
    scaled_load best = bound_with_equal_shares(loads, {budget.ranks, fewest, false});
    for (int count = fewest + 1; count <= slots[layer]; ++count) {
      best = std::min(best, bound_with_equal_shares(loads, {budget.ranks, count, false}));
    }
    sum += best;
  }
  return sum;
}

/// Of all ways to deal the budget out, by trying them.
scaled_load least_sum(const redundancy_budget& budget, ints slots, int layer, std::int64_t left) {
  if (layer == budget.layers) return sum_of_fullest(budget, slots);
  scaled_load least = -1;
  const int fewest = slots[layer];
  for (int more = 0; more <= left && fewest + more <= budget.experts; ++more) {
    slots[layer] = fewest + more;
    const scaled_load sum = least_sum(budget, slots, layer + 1, left - more);
    if (least < 0 || sum < least) least = sum;
  }
  return least;
}

TEST(redundancy, slots_are_those_that_help_most_of_all_ways_to_deal_them_out) {
  for (unsigned seed = 1; seed <= 60; ++seed) {
    testing::generator random(seed);
    const int layers = 1 + static_cast<int>(random.below(4));
    const int experts = 1 + static_cast<int>(random.below(7));
    const int ranks = 1 + static_cast<int>(random.below(4));
    longs loads;
    for (int i = 0; i < layers * experts; ++i) {
      loads.push_back(seed % 5 == 0   ? 0
                      : seed % 5 == 1 ? random.below(3)
                                      : testing::log_normal_load(random));
    }
    const int fewest = (experts + ranks - 1) / ranks;
    const std::int64_t extra = random.below(6);
    const redundancy_budget budget{loads, layers, experts, ranks, fewest * layers + extra};
    const ints slots = choose_slots(budget);
    ASSERT_EQ(slots.size(), static_cast<std::size_t>(layers)) << seed;
    EXPECT_LE(std::accumulate(slots.begin(), slots.end(), std::int64_t{0}), budget.slots_per_rank);
    for (const std::int32_t count : slots) {
      EXPECT_GE(count, fewest) << seed;
      EXPECT_LE(count, std::max(experts, fewest)) << seed;
    }
    EXPECT_TRUE(sum_of_fullest(budget, slots) == least_sum(budget, ints(layers, fewest), 0, extra))
        << seed;
  }
}

TEST(redundancy, a_layer_with_a_hot_expert_gets_what_an_even_layer_does_not_need) {
  const longs loads = {10, 10, 10, 10, 100, 1, 1, 1, 10, 10, 10, 10};
  EXPECT_EQ(choose_slots({loads, 3, 4, 4, 5}), (ints{1, 2, 1}));
  EXPECT_EQ(choose_slots({loads, 3, 4, 4, 12}), (ints{1, 2, 1})) << "more are of no use";
  EXPECT_EQ(choose_slots({loads, 3, 4, 4, 3}), (ints{1, 1, 1}));
}

TEST(redundancy, a_budget_that_cannot_host_every_expert_is_refused) {
  const longs loads(12, 1);
  const auto why = [&](const redundancy_budget& budget) -> std::string {
    try {
      choose_slots(budget);
    } catch (const std::invalid_argument& e) {
      return e.what();
    }
    return "";
  };
  EXPECT_EQ(why({loads, 3, 4, 2, 5}),
            "slots_per_rank 5 of all layers are fewer than the 6 that one replica of every expert "
            "takes");
  EXPECT_EQ(why({loads, 2, 4, 2, 50}), "loads: 12 values for 2 layers of 4 experts");
  EXPECT_EQ(why({loads, 3, 4, 0, 50}), "ranks 0 is less than 1");
}

}  // namespace
}  // namespace ballast
