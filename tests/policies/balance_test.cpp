#include "policies/balance.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "tests/policies/synthetic_loads.hpp"

namespace ballast {
namespace {

using ints = std::vector<std::int32_t>;
using longs = std::vector<std::int64_t>;

std::vector<std::int64_t> small(const std::vector<scaled_load>& loads) {
  return {loads.begin(), loads.end()};
}

TEST(rank_loads, are_sums_of_loads_times_shares) {
  const slot_layout layout = slot_layout::ragged(ints{2, 0, 3});
  const ints experts = {0, 1, 1, no_expert, 0};
  const ints shares = {65535, 30000, 35536, 0, 1};
  std::vector<scaled_load> loads(3);
  rank_loads_of(longs{10, 7}, experts, shares, layout, loads);
  EXPECT_EQ(small(loads), (longs{655350 + 210000, 0, 7 * 35536 + 10}));
  EXPECT_TRUE(fullest_rank_load(longs{10, 7}, experts, shares, layout) == 655350 + 210000);
}

TEST(rank_loads, hold_the_largest_loads) {
  const slot_layout layout = slot_layout::uniform(1, 2);
  const std::int64_t half = std::int64_t{1} << 61;
  std::vector<scaled_load> loads(1);
  rank_loads_of(longs{half, half}, ints{0, 1}, ints{65536, 65536}, layout, loads);
  EXPECT_TRUE(loads[0] == static_cast<scaled_load>(half) * 2 * 65536);
}

TEST(bound_with_free_shares, is_the_mean_or_the_hottest_over_their_ranks) {
  const auto bound = [](const longs& loads, int ranks, int slots) {
    return static_cast<std::int64_t>(bound_with_free_shares(loads, {ranks, slots, {}}));
  };
  EXPECT_EQ(bound({10, 10, 10, 10}, 2, 4), 20 * 65536);
  EXPECT_EQ(bound({100, 1, 1}, 3, 3), 100 * 65536);  // no redundancy
  EXPECT_EQ(bound({100, 1, 1}, 3, 4), 50 * 65536);   // two replicas of the hottest
  EXPECT_EQ(bound({100, 98, 1}, 8, 4), 66 * 65536);  // three replicas of the two hottest
  EXPECT_EQ(bound({1, 0}, 3, 6), 21846);             // a third of 65536, rounded up
  EXPECT_EQ(bound({0, 0}, 3, 6), 0);
}

/// A legal placement with free shares never beats the bound: shares here are random, so it is not
/// tight.
TEST(bound_with_free_shares, holds_for_random_placements) {
  for (std::uint64_t seed = 1; seed <= 500; ++seed) {
    testing::generator random(seed);
    const int ranks = 1 + static_cast<int>(random.below(6));
    const int per_rank = 1 + static_cast<int>(random.below(4));
    const int experts = 1 + static_cast<int>(random.below(ranks * per_rank));
    const slot_layout layout = slot_layout::uniform(ranks, per_rank);
    const longs loads = testing::log_normal_loads(seed, 1, experts);
    ints expert_of_slot(static_cast<std::size_t>(layout.slots()));
    for (int slot = 0; slot < layout.slots(); ++slot) {
      expert_of_slot[slot] =
          slot < experts ? slot : static_cast<std::int32_t>(random.below(experts));
    }
    for (int slot = layout.slots() - 1; slot > 0; --slot) {
      std::swap(expert_of_slot[slot], expert_of_slot[random.below(slot + 1)]);
    }
    const replica_lists lists = list_replicas(expert_of_slot, experts);
    ints shares(expert_of_slot.size(), 0);
    for (int expert = 0; expert < experts; ++expert) {
      const std::int32_t first = lists.first_replica[expert];
      const std::int32_t count = lists.first_replica[expert + 1] - first;
      for (std::int32_t unit = 0; unit < 16; ++unit) {
        shares[lists.slot_of_replica[first + random.below(count)]] += share_one / 16;
      }
    }
    EXPECT_TRUE(fullest_rank_load(loads, expert_of_slot, shares, layout) >=
                bound_with_free_shares(loads, {ranks, layout.slots(), {}}))
        << "seed " << seed;
  }
}

}  // namespace
}  // namespace ballast
