// The live placement and its routing tables against tables built naively from the placement,
// through random changes as batches make them.
#include "runtime/live_placement.hpp"

#include <gtest/gtest.h>

#include <random>
#include <vector>

namespace ballast {
namespace {

void expect_tables_match(const live_placement& live, int layer, const std::string& when) {
  const placement& p = live.current();
  const route_tables tables = live.tables(layer);
  ASSERT_EQ(tables.experts, p.experts()) << when;
  std::int32_t next = 0;
  for (int e = 0; e < p.experts(); ++e) {
    ASSERT_EQ(tables.replica_first[e], next) << when << ", expert " << e;
    std::int32_t end = 0;
    for (int slot = 0; slot < p.slots(); ++slot) {
      if (p.experts_of(layer)[slot] != e) continue;
      end += p.shares_of(layer)[slot];
      ASSERT_EQ(tables.replica_slot[next], slot) << when << ", expert " << e;
      ASSERT_EQ(tables.replica_share_end[next], end) << when << ", expert " << e;
      ++next;
    }
    ASSERT_EQ(live.replicas(layer, e), next - tables.replica_first[e]) << when << ", expert " << e;
    ASSERT_EQ(end, next > tables.replica_first[e] ? share_one : 0) << when << ", expert " << e;
  }
  ASSERT_EQ(tables.replica_first[p.experts()], next) << when;
}

placement start_of(int layers, int experts, int ranks, int slots, int spare) {
  const slot_layout layout = slot_layout::uniform(ranks, slots + spare);
  const std::vector<std::int32_t> usable(ranks, slots);
  return initial_placement(layers, experts, layout, usable);
}

// Another legal placement of the same shape: rows of the layer shuffled.
void shuffle_layer(placement& p, int layer, std::mt19937_64& random) {
  const auto held = p.experts_of(layer);
  for (std::size_t i = held.size(); i > 1; --i) std::swap(held[i - 1], held[random() % i]);
  set_equal_shares(held, p.experts(), p.shares_of(layer));
}

TEST(live_placement, experts_without_a_slot_are_counted_over_all_layers) {
  std::mt19937_64 random(5);
  live_placement live(start_of(3, 7, 2, 5, 1));
  EXPECT_EQ(live.experts_lost(), 0);
  for (int change = 0; change < 2000; ++change) {
    const int layer = static_cast<int>(random() % 3);
    live.set_expert(layer, static_cast<int>(random() % 12), static_cast<int>(random() % 8) - 1);
    int lost = 0;
    for (int l = 0; l < 3; ++l) {
      for (int e = 0; e < 7; ++e) lost += live.replicas(l, e) == 0;
    }
    ASSERT_EQ(live.experts_lost(), lost) << "change " << change;
  }
}

TEST(live_placement, tables_of_a_new_one_are_those_of_its_placement) {
  for (const int experts : {1, 2, 5, 13}) {
    for (const int ranks : {1, 2, 3, 8}) {
      for (const int spare : {0, 2}) {
        const int slots = (experts + ranks - 1) / ranks + 1;
        const placement initial = start_of(3, experts, ranks, slots, spare);
        const live_placement live(initial);
        EXPECT_EQ(live.current(), initial);
        for (int layer = 0; layer < 3; ++layer) expect_tables_match(live, layer, "new");
      }
    }
  }
}

TEST(live_placement, tables_follow_every_change_of_a_layer_and_only_of_that_layer) {
  for (std::uint64_t seed = 0; seed < 60; ++seed) {
    std::mt19937_64 random(seed);
    const int experts = static_cast<int>(1 + random() % 9);
    live_placement live(start_of(2, experts, 3, experts / 3 + 2, 1));
    placement target = live.current();
    shuffle_layer(target, 0, random);
    const placement before = live.current();
    const auto held = live.current().experts_of(0);
    for (int change = 0; change < 30; ++change) {
      const int slot = static_cast<int>(random() % live.current().slots());
      const int leaving = held[slot];
      if (leaving != no_expert && live.replicas(0, leaving) == 1) continue;
      live.set_expert(0, slot, static_cast<int>(random() % (experts + 1)) - 1);
      live.refresh(0, target, false);
      expect_tables_match(live, 0,
                          "seed " + std::to_string(seed) + ", change " + std::to_string(change));
      ASSERT_TRUE(std::ranges::equal(live.current().experts_of(1), before.experts_of(1)))
          << "seed " << seed;
      expect_tables_match(live, 1, "the other layer");
    }
  }
}

TEST(live_placement, shares_on_arrival_are_those_of_the_target) {
  std::mt19937_64 random(4);
  live_placement live(start_of(1, 4, 3, 3, 0));
  placement target = live.current();
  shuffle_layer(target, 0, random);
  // Uneven shares for the first expert with several replicas.
  const replica_lists lists = list_replicas(target.experts_of(0), 4);
  int expert = 0;
  while (lists.first_replica[expert + 1] - lists.first_replica[expert] < 2) ++expert;
  target.shares_of(0)[lists.slot_of_replica[lists.first_replica[expert]]] += 1000;
  target.shares_of(0)[lists.slot_of_replica[lists.first_replica[expert] + 1]] -= 1000;
  for (int slot = 0; slot < target.slots(); ++slot)
    live.set_expert(0, slot, target.experts_of(0)[slot]);
  live.refresh(0, target, true);
  EXPECT_TRUE(std::ranges::equal(live.current().shares_of(0), target.shares_of(0)));
  expect_tables_match(live, 0, "arrived");
}

TEST(live_placement, given_shares_serve_from_the_start) {
  placement initial = start_of(1, 2, 2, 2, 0);
  initial.shares_of(0)[0] = 10000;
  initial.shares_of(0)[2] = share_one - 10000;
  const live_placement live(initial);
  EXPECT_EQ(live.tables(0).replica_share_end[0], 10000);
  expect_tables_match(live, 0, "given");
}

TEST(live_placement, versions_count_commits_only_and_per_layer) {
  live_placement live(start_of(2, 3, 2, 2, 0));
  const placement target = live.current();
  EXPECT_EQ(live.current().version(0), 0u);
  live.refresh(0, target, false);
  EXPECT_EQ(live.current().version(0), 0u);
  live.refresh(0, target, true);
  live.refresh(0, target, true);
  EXPECT_EQ(live.current().version(0), 2u);
  EXPECT_EQ(live.current().version(1), 0u);
  ballast_layer_tables view = {};
  live.describe(0, view);
  EXPECT_EQ(view.version, 2u);
}

TEST(live_placement, addresses_of_the_tables_never_change) {
  live_placement live(start_of(3, 5, 2, 4, 1));
  const placement target = live.current();
  std::vector<ballast_layer_tables> before(3);
  for (int layer = 0; layer < 3; ++layer) live.describe(layer, before[layer]);
  live.set_expert(1, 9, 4);
  live.set_expert(1, 9, no_expert);
  for (int layer = 0; layer < 3; ++layer) {
    live.refresh(layer, target, true);
    ballast_layer_tables after = {};
    live.describe(layer, after);
    EXPECT_EQ(after.expert_of_slot, before[layer].expert_of_slot);
    EXPECT_EQ(after.replica_first, before[layer].replica_first);
    EXPECT_EQ(after.replica_slot, before[layer].replica_slot);
    EXPECT_EQ(after.replica_share_end, before[layer].replica_share_end);
  }
}

}  // namespace
}  // namespace ballast
