#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "policies/balance.hpp"
#include "tests/policies/synthetic_loads.hpp"

namespace ballast {
namespace {

using ints = std::vector<std::int32_t>;
using longs = std::vector<std::int64_t>;

/// The smallest possible fullest rank with equal shares, by trying every expert (and no expert,
/// unless `filled`) in every slot.
class exhaustive_search {
 public:
  exhaustive_search(const longs& loads, const bound_shape& shape)
      : loads_(loads),
        layout_(slot_layout::uniform(shape.ranks, shape.slots_per_rank)),
        lowest_(shape.filled ? 0 : no_expert),
        expert_of_slot_(layout_.slots()),
        shares_(layout_.slots()) {
    visit(0);
  }

  scaled_load best() const { return best_; }

 private:
  void visit(int slot) {
    if (slot == layout_.slots()) return evaluate();
    // Slots of a rank are interchangeable: experts ascend in it.
    const bool first_of_rank = slot == layout_.first(layout_.rank_of(slot));
    const std::int32_t from = first_of_rank ? lowest_ : expert_of_slot_[slot - 1];
    for (std::int32_t expert = from; expert < static_cast<std::int32_t>(loads_.size()); ++expert) {
      expert_of_slot_[slot] = expert;
      visit(slot + 1);
    }
  }

  void evaluate() {
    for (std::int32_t expert = 0; expert < static_cast<std::int32_t>(loads_.size()); ++expert) {
      if (std::count(expert_of_slot_.begin(), expert_of_slot_.end(), expert) == 0) return;
    }
    set_equal_shares(expert_of_slot_, static_cast<int>(loads_.size()), shares_);
    const scaled_load fullest = fullest_rank_load(loads_, expert_of_slot_, shares_, layout_);
    if (best_ < 0 || fullest < best_) best_ = fullest;
  }

  const longs& loads_;
  slot_layout layout_;
  std::int32_t lowest_;
  ints expert_of_slot_;
  ints shares_;
  scaled_load best_ = -1;
};

TEST(bound_with_equal_shares, never_exceeds_the_best_of_all_placements) {
  const bound_shape shapes[] = {{2, 2, true},  {3, 2, true},  {2, 3, true},
                                {4, 2, true},  {2, 4, true},  {3, 3, true},
                                {2, 2, false}, {3, 2, false}, {2, 3, false}};
  int exact = 0;
  int cases = 0;
  for (const bound_shape& shape : shapes) {
    for (std::uint64_t seed = 1; seed <= 250; ++seed) {
      testing::generator random(seed);
      const int slots = shape.ranks * shape.slots_per_rank;
      const int experts = 1 + static_cast<int>(random.below(std::min(slots, slots > 8 ? 5 : 6)));
      longs loads(static_cast<std::size_t>(experts));
      const std::int64_t kind = random.below(4);
      for (auto& load : loads) {
        load = kind == 0   ? random.below(4)
               : kind == 1 ? 1 + random.below(1000)
               : kind == 3 ? (random.below(2) == 0 ? 90 : 10) + random.below(9)
                           : testing::log_normal_load(random);
      }
      const scaled_load bound = bound_with_equal_shares(loads, shape);
      const scaled_load best = exhaustive_search(loads, shape).best();
      EXPECT_TRUE(bound <= best) << "seed " << seed << " ranks " << shape.ranks << " slots "
                                 << shape.slots_per_rank << ": " << static_cast<double>(bound)
                                 << " > " << static_cast<double>(best);
      EXPECT_TRUE(bound >= bound_with_free_shares(loads, {shape.ranks, slots, {}})) << "seed " << seed;
      exact += static_cast<double>(bound) >= static_cast<double>(best) * 0.9998 ? 1 : 0;
      ++cases;
    }
  }
  EXPECT_GT(exact, cases / 2) << "of " << cases;  // a bound of 0 would never exceed anything
}

TEST(bound_with_equal_shares, is_exact_with_one_slot_per_rank) {
  const auto bound = [](const longs& loads, int ranks) {
    return static_cast<std::int64_t>(bound_with_equal_shares(loads, {ranks, 1, true}));
  };
  EXPECT_EQ(bound({100, 10, 5}, 3), 100 * 65536);
  EXPECT_EQ(bound({100, 10, 5}, 4), 50 * 65536);
  EXPECT_EQ(bound({100, 40, 5}, 6), 100 * 21846);  // three replicas, the largest share
}

TEST(bound_with_equal_shares, proves_more_than_the_free_one_where_replicas_are_large) {
  for (std::uint64_t seed = 1; seed <= 10; ++seed) {  // 256 experts on 144 ranks of two slots
    const longs loads = testing::log_normal_loads(seed, 1, 256);
    const double free_bound = static_cast<double>(bound_with_free_shares(loads, {144, 288, {}}));
    EXPECT_GT(static_cast<double>(bound_with_equal_shares(loads, {144, 2, true})), free_bound * 1.1)
        << seed;
  }
}

TEST(bound_with_equal_shares, scales_with_the_loads) {
  const longs loads = testing::log_normal_loads(7, 1, 64);
  const double plain = static_cast<double>(bound_with_equal_shares(loads, {36, 2, true}));
  for (const int shift : {20, 35, 40}) {
    longs large = loads;
    for (auto& load : large) load <<= shift;
    const double bound = static_cast<double>(bound_with_equal_shares(large, {36, 2, true}));
    EXPECT_NEAR(bound / static_cast<double>(std::int64_t{1} << shift) / plain, 1.0, 3e-4) << shift;
  }
}

TEST(bound_with_equal_shares, bears_zeros_and_single_experts) {
  EXPECT_TRUE(bound_with_equal_shares(longs(5, 0), {3, 2, true}) == 0);
  EXPECT_TRUE(bound_with_equal_shares(longs{9}, {1, 1, true}) == 9 * 65536);
  EXPECT_TRUE(bound_with_equal_shares(longs{9}, {3, 1, true}) == 9 * 21846);
  EXPECT_TRUE(bound_with_equal_shares(longs{8}, {4, 3, false}) == 2 * 65536);
  EXPECT_TRUE(bound_with_equal_shares(longs{8, 0, 0}, {2, 2, true}) == 4 * 65536);
}

}  // namespace
}  // namespace ballast
