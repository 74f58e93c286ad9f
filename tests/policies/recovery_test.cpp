#include "policies/recovery.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "tests/policies/scenario.hpp"

namespace ballast {
namespace {

using ints = std::vector<std::int32_t>;
using masks = std::vector<std::uint8_t>;

placement layer_of(const ints& experts_of_slots, int experts, int ranks) {
  const int rows = static_cast<int>(experts_of_slots.size()) / ranks;
  placement place(1, experts, slot_layout::uniform(ranks, rows));
  std::ranges::copy(experts_of_slots, place.experts_of(0).begin());
  set_equal_shares(place.experts_of(0), experts, place.shares_of(0));
  return place;
}

ints held(const placement& place) {
  const auto experts = place.experts_of(0);
  return {experts.begin(), experts.end()};
}

TEST(recovery, nothing_is_lost_while_replicas_are_left) {
  const placement current = layer_of({0, 1, 2, 0, 1, 2}, 3, 3);
  const masks gone = {0, 0, 1};
  const recovery found = recover(current, {gone, gone, ints{2, 2, 2}, {}, 0});
  EXPECT_TRUE(found.lost.empty());
  EXPECT_EQ(held(found.left), (ints{0, 1, 2, 0, -1, -1}));
  EXPECT_EQ(why_illegal(found.left, false), "");
  EXPECT_EQ(recover(current, {{}, {}, ints{2, 2, 2}, {}, 0}).left, current);
}

TEST(recovery, lost_experts_go_to_the_emptiest_rank_that_serves) {
  const placement current = layer_of({0, 1, -1, 2, -1, -1, 3, -1, -1, 4, 5, -1}, 6, 4);
  const masks gone = {0, 0, 0, 1};
  const masks masked = {0, 0, 2, 1};  // rank 2 drains
  const recovery found = recover(current, {gone, masked, ints{3, 3, 3, 3}, {}, 0});
  EXPECT_EQ(found.lost, (std::vector<lost_place>{{0, 4, 4}, {0, 5, 2}}));
  EXPECT_EQ(held(found.left), (ints{0, 1, 5, 2, 4, -1, 3, -1, -1, -1, -1, -1}));
  EXPECT_EQ(why_illegal(found.left, false), "");
}

TEST(recovery, without_a_free_slot_a_replica_of_the_expert_with_most_makes_room) {
  const placement current = layer_of({0, 1, 2, 1, 1, 2, 3, 4}, 5, 4);
  const masks gone = {0, 0, 0, 1};
  const recovery found = recover(current, {gone, gone, ints{2, 2, 2, 2}, {}, 0});
  EXPECT_EQ(found.lost, (std::vector<lost_place>{{0, 3, 1}, {0, 4, 2}}));
  EXPECT_EQ(held(found.left), (ints{0, 3, 4, 1, 1, 2, -1, -1}));
}

TEST(recovery, keeps_to_the_slots_of_a_layer_and_says_where_there_is_no_room) {
  const placement current = layer_of({0, -1, 1, -1, 2, -1}, 3, 3);
  const masks gone = {0, 0, 1};
  EXPECT_EQ(recover(current, {gone, gone, ints{2, 2, 2}, ints{2}, 0}).lost,
            (std::vector<lost_place>{{0, 2, 1}}));
  EXPECT_EQ(recover(current, {gone, gone, ints{2, 2, 2}, ints{1}, 1}).lost,
            (std::vector<lost_place>{{0, 2, -1}}))
      << "a spare row is to stay empty";
}

TEST(recovery, whatever_is_gone_the_rest_is_legal_if_there_is_room) {
  int lost = 0;
  for (std::uint64_t seed = 1; seed <= 300; ++seed) {
    testing::generator random(seed);
    const int ranks = 2 + static_cast<int>(random.below(6));
    const int experts = 1 + static_cast<int>(random.below(20));
    const int slots = (experts + ranks - 2) / (ranks - 1) + static_cast<int>(random.below(3));
    testing::scenario s = testing::uniform_scenario(testing::log_normal_loads(seed, 2, experts), 2,
                                                    experts, ranks, slots);
    s.request.policy = "flow";
    s.current = make_plan(s.get()).target;
    masks gone(static_cast<std::size_t>(ranks), 0);
    gone[random.below(ranks)] = 1;
    const ints usable(static_cast<std::size_t>(ranks), slots);
    const recovery found = recover(s.current, {gone, gone, usable, {}, 0});
    EXPECT_EQ(why_illegal(found.left, false), "") << "seed " << seed;
    lost += static_cast<int>(found.lost.size());
    for (const lost_place& place : found.lost) {
      EXPECT_EQ(found.left.experts_of(place.layer)[place.slot], place.expert);
      EXPECT_EQ(gone[found.left.layout().rank_of(place.slot)], 0);
      const auto before = s.current.experts_of(place.layer);
      for (int slot = 0; slot < s.current.slots(); ++slot) {
        if (before[slot] == place.expert) {
          EXPECT_EQ(gone[s.current.layout().rank_of(slot)], 1);
        }
      }
    }
  }
  EXPECT_GT(lost, 300);
}

}  // namespace
}  // namespace ballast
