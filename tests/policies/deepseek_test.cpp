#include "policies/deepseek.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>

#include "jobs/bench/plain_greedy.hpp"
#include "policies/plan.hpp"
#include "tests/policies/published.hpp"
#include "tests/policies/synthetic_loads.hpp"

namespace ballast {
namespace {

using ints = std::vector<std::int32_t>;
using longs = std::vector<std::int64_t>;

using testing::published_shape;

/// phy2log of one layer as `deepseek` plans it in the compatible mode.
ints published(const longs& loads, const published_shape& shape,
               const std::string& policy = "deepseek", const std::vector<int>& dead = {}) {
  return testing::published(loads, shape, policy, dead);
}

/// log2phy: slots of each expert in the order its replicas were created.
std::vector<ints> created_slots(const longs& loads, const deepseek_shape& shape,
                                int slots_per_rank) {
  const slot_layout layout =
      slot_layout::uniform(static_cast<int>(shape.capacity.size()), slots_per_rank);
  ints experts(static_cast<std::size_t>(layout.slots())), replicas(experts.size());
  deepseek_planner(shape).plan_layer(loads, layout, experts, replicas);
  std::vector<ints> slots(loads.size());
  for (auto& list : slots) list.assign(static_cast<std::size_t>(layout.slots()), -1);
  for (int slot = 0; slot < layout.slots(); ++slot) slots[experts[slot]][replicas[slot]] = slot;
  for (auto& list : slots) {
    list.erase(std::find(list.begin(), list.end(), -1), list.end());
  }
  return slots;
}

longs reversed(longs loads) {
  std::reverse(loads.begin(), loads.end());
  return loads;
}

const longs readme_0 = {90, 132, 40, 61, 104, 165, 39, 4, 73, 56, 183, 86};
const longs readme_1 = {20, 107, 104, 64, 19, 197, 187, 157, 172, 86, 16, 27};
const longs flash = {600, 560, 120, 120, 20, 10, 10, 10};

TEST(deepseek, reproduces_the_published_readme) {
  EXPECT_EQ(published(readme_0, {16, 4, 2, 8}),
            (ints{5, 6, 5, 7, 8, 4, 3, 4, 10, 9, 10, 2, 0, 1, 11, 1}));
  EXPECT_EQ(published(readme_1, {16, 4, 2, 8}),
            (ints{7, 10, 6, 8, 6, 11, 8, 9, 2, 4, 5, 1, 5, 0, 3, 1}));
  EXPECT_EQ(published(readme_0, {16, 4, 2, 8}, "deepseek-hierarchical"),
            published(readme_0, {16, 4, 2, 8}));
}

TEST(deepseek, reproduces_the_published_order_of_replicas) {
  deepseek_shape shape{12, 4, 2, ints(8, 2), true};
  EXPECT_EQ(created_slots(readme_0, shape, 2),
            (std::vector<ints>{
                {12}, {15, 13}, {11}, {6}, {7, 5}, {0, 2}, {1}, {3}, {4}, {9}, {8, 10}, {14}}));
  EXPECT_EQ(created_slots(readme_1, shape, 2),
            (std::vector<ints>{
                {13}, {15, 11}, {8}, {14}, {9}, {10, 12}, {2, 4}, {0}, {6, 3}, {7}, {1}, {5}}));
  shape.groups = shape.nodes = 1;
  EXPECT_EQ(created_slots(readme_0, shape, 2),
            (std::vector<ints>{
                {4}, {14, 15}, {5}, {13}, {11, 7}, {8, 10}, {1}, {3}, {12}, {9}, {0, 2}, {6}}));
  EXPECT_EQ(created_slots(readme_1, shape, 2),
            (std::vector<ints>{
                {7}, {0}, {2}, {11}, {3}, {4, 6}, {8, 10}, {15, 9}, {12, 13}, {14}, {1}, {5}}));
}

TEST(deepseek, is_global_where_the_groups_do_not_divide_over_the_nodes) {
  const ints l0 = {10, 6, 10, 7, 0, 2, 11, 4, 5, 9, 5, 4, 8, 3, 1, 1};
  const ints l1 = {1, 10, 2, 4, 5, 11, 5, 0, 6, 7, 6, 3, 8, 8, 9, 7};
  EXPECT_EQ(published(readme_0, {16, 3, 2, 8}), l0);
  EXPECT_EQ(published(readme_1, {16, 3, 2, 8}), l1);
  EXPECT_EQ(published(readme_0, {16, 4, 2, 8}, "deepseek-global"), l0);
  EXPECT_EQ(published(readme_1, {16, 4, 2, 8}, "deepseek-global"), l1);
}

TEST(deepseek, reproduces_the_vllm_vectors) {
  EXPECT_EQ(published(flash, {16, 1, 1, 8}),
            (ints{0, 1, 2, 1, 3, 1, 0, 4, 0, 5, 0, 6, 0, 7, 1, 1}));  // A1
  EXPECT_EQ(published(readme_0, {16, 1, 1, 8}),
            (ints{10, 6, 10, 7, 0, 2, 11, 4, 5, 9, 5, 4, 8, 3, 1, 1}));
  EXPECT_EQ(published(readme_0, {12, 1, 1, 4}), (ints{10, 3, 7, 5, 8, 6, 1, 11, 2, 4, 0, 9}));
  EXPECT_EQ(published({100, 50, 200, 75, 150, 25, 300, 80}, {12, 4, 2, 4}),
            (ints{6, 6, 7, 0, 6, 1, 2, 3, 4, 2, 4, 5}));
  EXPECT_EQ(published({1000, 1, 1, 1, 1, 1, 1, 1}, {12, 2, 2, 4}),
            (ints{0, 0, 3, 0, 1, 2, 6, 4, 4, 7, 5, 5}));
  EXPECT_EQ(published(longs(8, 50), {8, 2, 2, 4}), (ints{0, 2, 1, 3, 4, 6, 5, 7}));  // A6
  const longs tens = {10, 20, 30, 40, 50, 60};
  EXPECT_EQ(published(tens, {8, 2, 2, 4}), (ints{1, 0, 2, 2, 4, 5, 3, 5}));
  EXPECT_EQ(published(reversed(tens), {8, 2, 2, 4}), (ints{1, 0, 2, 0, 4, 5, 3, 3}));
  EXPECT_EQ(published(longs(6, 25), {8, 2, 2, 4}), (ints{1, 0, 2, 0, 4, 3, 5, 3}));
  EXPECT_EQ(published({10, 20, 30, 40}, {8, 3, 2, 4}), (ints{2, 1, 2, 1, 3, 3, 3, 0}));  // A8, T4
  EXPECT_EQ(published(tens, {8, 3, 2, 4}), (ints{3, 0, 2, 4, 5, 4, 5, 1}));
  EXPECT_EQ(
      published({50, 100, 75, 120, 90, 60, 80, 110, 40, 70, 95, 85, 65, 55, 45, 35}, {24, 8, 4, 8}),
      (ints{3, 14, 15, 3, 2, 2, 9, 6, 8, 7, 7, 6, 12, 10, 11, 13, 10, 11, 5, 1, 4, 0, 1, 4}));
  const longs falling = {200, 150, 100, 50, 25, 12};
  EXPECT_EQ(published(falling, {10, 3, 1, 2}), (ints{1, 0, 0, 2, 5, 1, 0, 2, 3, 4}));  // A10
  EXPECT_EQ(published(reversed(falling), {10, 3, 1, 2}), (ints{4, 5, 5, 3, 0, 4, 5, 2, 3, 1}));
  EXPECT_EQ(published(longs(8, 0), {12, 1, 1, 4}),
            (ints{0, 1, 2, 3, 4, 5, 6, 7, 0, 0, 0, 0}));  // A11
}

// SGLang's elasticity_aware; its filler in the slots of a dead rank is expert 0, ours is empty.
TEST(deepseek, reproduces_the_published_plans_around_a_dead_rank) {
  EXPECT_EQ(published(readme_0, {16, 4, 2, 8}, "deepseek", {3}),
            (ints{1, 7, 4, 6, 10, 9, -1, -1, 10, 2, 0, 3, 11, 8, 5, 5}));
  EXPECT_EQ(published(readme_1, {16, 4, 2, 8}, "deepseek", {3}),
            (ints{8, 10, 7, 4, 1, 0, -1, -1, 2, 11, 5, 9, 5, 3, 6, 6}));
}

TEST(deepseek, packs_one_slot_per_rank_in_published_order) {
  EXPECT_EQ(published({5, 90, 40}, {4, 1, 1, 4}), (ints{0, 1, 2, 1}));
  EXPECT_EQ(published({5, 90, 40}, {6, 1, 1, 6}), (ints{0, 1, 2, 1, 1, 2}));  // 90, 45, 40
  EXPECT_EQ(published({5, 90, 40}, {6, 1, 1, 6}, "deepseek", {0, 4}), (ints{-1, 0, 1, 2, -1, 1}));
}

TEST(deepseek, ties_do_not_depend_on_the_size_of_the_loads) {
  longs loads = {3, 3, 6, 6, 9, 1, 2, 12};
  const ints small = published(loads, {16, 1, 1, 4});
  for (int shift : {10, 30, 40, 50, 56}) {
    longs large = loads;
    for (auto& load : large) load <<= shift;
    EXPECT_EQ(published(large, {16, 1, 1, 4}), small) << "shift " << shift;
  }
}

TEST(deepseek, balance_equals_the_plain_greedy_on_many_shapes) {
  struct shape {
    int experts, ranks, slots_per_rank;
  };
  for (const shape& s : {shape{256, 32, 9},
                         {256, 64, 5},
                         {256, 144, 2},
                         {256, 320, 1},
                         {128, 16, 9},
                         {128, 64, 3},
                         {384, 128, 4},
                         {7, 3, 5}}) {
    for (std::uint64_t seed = 1; seed <= 8; ++seed) {
      const longs loads = testing::log_normal_loads(seed, 1, s.experts);
      const ints ours =
          published(loads, {s.ranks * s.slots_per_rank, 1, 1, s.ranks}, "deepseek-global");
      const double plain = bench::plain_balance(
          loads, bench::plain_greedy(loads, s.ranks, s.slots_per_rank), s.ranks);
      EXPECT_NEAR(bench::plain_balance(loads, ours, s.ranks), plain, 5e-4)
          << s.experts << " " << s.ranks << " seed " << seed;
    }
  }
}

TEST(deepseek, holds_the_greedys_balance_without_its_duplicates) {
  struct shape {
    int experts, ranks, slots_per_rank;
  };
  int with_duplicates = 0;
  for (const shape& s : {shape{256, 32, 9}, {256, 64, 5}, {128, 16, 9}, {384, 128, 4}}) {
    const slot_layout layout = slot_layout::uniform(s.ranks, s.slots_per_rank);
    deepseek_planner planner({s.experts, 1, 1, ints(s.ranks, s.slots_per_rank), false});
    for (std::uint64_t seed = 1; seed <= 16; ++seed) {
      const longs loads = testing::log_normal_loads(seed, 1, s.experts);
      const ints greedy = bench::plain_greedy(loads, s.ranks, s.slots_per_rank);
      for (int rank = 0; rank < s.ranks; ++rank) {
        const auto first = greedy.begin() + layout.first(rank);
        with_duplicates +=
            std::adjacent_find(first, first + s.slots_per_rank) != first + s.slots_per_rank;
      }
      ints experts(static_cast<std::size_t>(layout.slots()));
      planner.plan_layer(loads, layout, experts);
      EXPECT_GE(bench::plain_balance(loads, experts, s.ranks),
                bench::plain_balance(loads, greedy, s.ranks) * (1 - 1e-9))
          << s.experts << " " << s.ranks << " seed " << seed;
    }
  }
  EXPECT_GT(with_duplicates, 10);  // or the loads prove nothing
}

/// Every expert hosted, no expert twice on a rank, every rank within its capacity, and all slots in
/// use that can be.
void expect_apart(const longs& loads, const ints& capacity, const std::string& what) {
  deepseek_shape shape{static_cast<std::int32_t>(loads.size()), 1, 1, capacity, false};
  const slot_layout layout = slot_layout::ragged(capacity);
  ints experts(static_cast<std::size_t>(layout.slots()));
  deepseek_planner planner(shape);
  for (int run = 0; run < 2; ++run) {  // the scratch memory must not matter
    planner.plan_layer(loads, layout, experts);
    ints count(loads.size(), 0);
    for (int rank = 0; rank < layout.ranks(); ++rank) {
      ints held;
      for (int slot = layout.first(rank); slot < layout.first(rank + 1); ++slot) {
        if (experts[slot] != no_expert) held.push_back(experts[slot]), ++count[experts[slot]];
      }
      std::sort(held.begin(), held.end());
      EXPECT_EQ(std::adjacent_find(held.begin(), held.end()), held.end())
          << what << " rank " << rank;
      if (std::adjacent_find(capacity.begin(), capacity.end(), std::not_equal_to<>()) ==
          capacity.end()) {
        EXPECT_EQ(held.size(), std::min<std::size_t>(capacity[0], loads.size())) << what;
      }
    }
    EXPECT_EQ(std::count(count.begin(), count.end(), 0), 0) << what;
  }
}

TEST(deepseek, never_puts_an_expert_twice_on_a_rank) {
  for (std::uint64_t seed = 1; seed <= 3000; ++seed) {
    testing::generator random(seed);
    const int ranks = 1 + static_cast<int>(random.below(9));
    const int experts = 1 + static_cast<int>(random.below(17));
    const int widest = 1 + static_cast<int>(random.below(7));
    const bool ragged = random.below(2) == 1;
    ints capacity(static_cast<std::size_t>(ranks));
    for (auto& slots : capacity)
      slots = ragged ? static_cast<std::int32_t>(random.below(widest + 1)) : widest;
    while (std::accumulate(capacity.begin(), capacity.end(), 0) < experts) {
      if (ragged) {
        ++capacity[random.below(ranks)];
      } else {
        for (auto& slots : capacity) ++slots;
      }
    }
    longs loads(static_cast<std::size_t>(experts));
    const std::int64_t kind = random.below(4);  // ties, zeros, one hot expert, skew
    for (auto& load : loads) {
      load = kind == 0   ? random.below(3)
             : kind == 1 ? 0
             : kind == 2 ? 1
                         : testing::log_normal_load(random);
    }
    if (kind == 2) loads[random.below(experts)] = 1000000;
    expect_apart(loads, capacity, "seed " + std::to_string(seed));
  }
}

TEST(deepseek, ragged_ranks_get_replicas_by_a_longer_path_where_no_exchange_will_do) {
  // Wide ranks first, one-slot ranks behind them: the hot experts want more ranks than have room
  // left.
  expect_apart({100, 90, 80, 1, 1}, {5, 5, 1, 1, 1}, "five wide, three narrow");
  expect_apart({1, 1, 1}, {1, 3, 2}, "three ranks");
  expect_apart({9, 9, 9, 9}, {4, 1, 1, 1, 1, 4}, "two wide");
}

}  // namespace
}  // namespace ballast
