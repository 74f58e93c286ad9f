#include <gtest/gtest.h>

#include <algorithm>
#include <string>

#include "tests/policies/scenario.hpp"

namespace ballast {
namespace {

using testing::scenario;
using testing::uniform_scenario;

std::int64_t held_by(const plan& planned, int layer, int rank) {
  const slot_layout& layout = planned.target.layout();
  const auto held =
      planned.target.experts_of(layer).subspan(layout.first(rank), layout.count(rank));
  return std::ranges::count_if(held, [](std::int32_t expert) { return expert != no_expert; });
}

TEST(masked_ranks, hold_nothing_under_any_policy_whatever_the_limits) {
  for (const char* policy : {"static", "flow", "deepseek", "deepseek-global"}) {
    for (const std::int64_t budget : {-1, 0, 3}) {
      for (std::uint64_t seed = 1; seed <= 20; ++seed) {
        scenario s = uniform_scenario(testing::log_normal_loads(seed, 3, 30), 3, 30, 8, 6);
        s.request.policy = policy;
        s.request.limits.max_moves_per_layer = budget;
        s.request.expert_bytes = 1;
        s.request.limits.max_bytes_per_rank = budget;
        testing::generator random(seed);
        s.request.masked_ranks.assign(8, 0);
        const int dead[] = {static_cast<int>(random.below(8)), static_cast<int>(random.below(8))};
        for (const int rank : dead) s.request.masked_ranks[rank] = 1;
        const plan planned = make_plan(s.get());
        const std::string what = std::string(policy) + " budget " + std::to_string(budget) +
                                 " seed " + std::to_string(seed);
        EXPECT_EQ(why_illegal(planned.target, false), "") << what;
        for (int layer = 0; layer < 3; ++layer) {
          for (const int rank : dead) EXPECT_EQ(held_by(planned, layer, rank), 0) << what;
          EXPECT_TRUE(planned.layers[layer].bound <= planned.layers[layer].max_after) << what;
        }
        EXPECT_LE(planned.balance_after(), 1.0) << what;
      }
    }
  }
}

TEST(masked_ranks, experts_whose_last_replica_dies_are_named_and_hosted) {
  scenario s = uniform_scenario(testing::log_normal_loads(3, 2, 10), 2, 10, 4, 3);
  s.request.policy = "flow";
  s.request.masked_ranks = {1, 0, 0, 0};  // holds 0, 1, 2; slots 10 and 11 hold 0 and 1 again
  s.request.usable_slots = {3, 3, 4, 3};
  EXPECT_EQ(why_unplannable(s.get()), "usable_slots: rank 2: 4 is not in [0, 3]");
  s.request.usable_slots.clear();
  EXPECT_EQ(why_unplannable(s.get()), "usable_slots: 9 in all are fewer than the 10 experts");
  s = uniform_scenario(testing::log_normal_loads(3, 2, 10), 2, 10, 4, 4);
  s.request.policy = "flow";
  s.request.masked_ranks = {0, 1, 0, 0};  // holds 4..7; slots 10 to 15 hold 0 to 5 again
  const plan planned = make_plan(s.get());
  EXPECT_EQ(planned.lost, (std::vector<lost_expert>{{0, 6}, {0, 7}, {1, 6}, {1, 7}}));
  EXPECT_EQ(planned.living_ranks, 3);
}

TEST(masked_ranks, none_masked_is_as_if_not_given) {
  scenario s = uniform_scenario(testing::log_normal_loads(4, 3, 30), 3, 30, 8, 6);
  s.request.policy = "flow";
  const plan without = make_plan(s.get());
  s.request.masked_ranks.assign(8, 0);
  EXPECT_EQ(make_plan(s.get()).digest, without.digest);
}

TEST(masked_ranks, wrong_sizes_and_policies_are_refused) {
  scenario s = uniform_scenario(testing::log_normal_loads(4, 1, 4), 1, 4, 3, 3);
  s.request.masked_ranks = {0, 1};
  EXPECT_EQ(why_unplannable(s.get()), "masked_ranks: given for 2 ranks, the placement has 3");
  s.request.masked_ranks = {0, 1, 0};
  s.request.policy = "random";
  EXPECT_EQ(why_unplannable(s.get()), "masked_ranks: random swaps on all ranks");
}

}  // namespace
}  // namespace ballast
