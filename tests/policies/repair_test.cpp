#include "policies/repair.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <string>

#include "tests/policies/synthetic_loads.hpp"

namespace ballast {
namespace {

using ints = std::vector<std::int32_t>;

TEST(repair, leaves_a_legal_layer_as_it_is) {
  const slot_layout layout = slot_layout::uniform(2, 2);
  ints slots = {0, 1, 1, no_expert};
  layer_repair().repair(layout, ints{2, 2}, 2, slots);
  EXPECT_EQ(slots, (ints{0, 1, 1, no_expert}));
}

TEST(repair, empties_a_rank_without_usable_slots_and_hosts_its_last_replicas_elsewhere) {
  const slot_layout layout = slot_layout::uniform(3, 2);
  ints slots = {0, 1, 1, 2, 2, 3};
  layer_repair().repair(layout, ints{0, 2, 2}, 4, slots);
  EXPECT_EQ(slots, (ints{no_expert, no_expert, 1, 0, 2, 3}));  // 0 in place of 2, which has another
}

TEST(repair, random_layers_become_legal_and_lose_no_expert) {
  for (std::uint64_t seed = 1; seed <= 3000; ++seed) {
    testing::generator random(seed);
    const int ranks = 1 + static_cast<int>(random.below(7));
    const int experts = static_cast<int>(random.below(14));
    ints usable;
    ints counts;
    for (int rank = 0; rank < ranks; ++rank) {
      counts.push_back(static_cast<std::int32_t>(random.below(6)));
      usable.push_back(static_cast<std::int32_t>(random.below(counts.back() + 1)));
    }
    while (std::accumulate(usable.begin(), usable.end(), 0) < experts) {
      const auto rank = random.below(ranks);
      ++usable[rank];
      counts[rank] = std::max(counts[rank], usable[rank]);
    }
    const slot_layout layout = slot_layout::ragged(counts);
    ints slots;
    for (int slot = 0; slot < layout.slots(); ++slot) {
      slots.push_back(static_cast<std::int32_t>(random.below(experts + 1)) - 1);
    }
    layer_repair().repair(layout, usable, experts, slots);
    const std::string what = "seed " + std::to_string(seed);
    for (int expert = 0; expert < experts; ++expert) {
      EXPECT_NE(std::find(slots.begin(), slots.end(), expert), slots.end()) << what;
    }
    for (int rank = 0; rank < ranks; ++rank) {
      ints held(slots.begin() + layout.first(rank), slots.begin() + layout.first(rank + 1));
      std::erase(held, no_expert);
      EXPECT_LE(static_cast<std::int32_t>(held.size()), usable[rank]) << what;
      std::sort(held.begin(), held.end());
      EXPECT_EQ(std::adjacent_find(held.begin(), held.end()), held.end()) << what;
    }
  }
}

}  // namespace
}  // namespace ballast
