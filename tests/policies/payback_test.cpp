#include "policies/payback.hpp"

#include <gtest/gtest.h>

#include "tests/policies/scenario.hpp"

namespace ballast {
namespace {

using longs = std::vector<std::int64_t>;
using testing::scenario;

constexpr std::int64_t mib = std::int64_t{1} << 20;

/// Four ranks on two nodes, expert e on rank e / 2; experts 0 and 1 are hot, so one of them has to
/// leave rank 0. No redundancy: shares alone save nothing.
scenario two_hot_experts() {
  scenario s = testing::uniform_scenario({400, 400, 0, 0, 0, 0, 0, 0}, 1, 8, 4, 2);
  for (int expert = 0; expert < 8; ++expert) s.current.experts_of(0)[expert] = expert;
  s.cluster = testing::even_cluster(2, 2);
  s.cluster.cost_ns_per_mib = {1, 1000, 5000, 20000};
  s.request.policy = "flow";
  s.request.expert_bytes = 3 * mib;
  return s;
}

TEST(payback, seconds_saved_and_spent_are_counted_by_hand) {
  scenario s = two_hot_experts();
  payback result;
  const plan made = make_paying_plan(s.get(), {7000, 10, 0, {}}, result);
  ASSERT_EQ(made.moves(), 2);  // a swap inside the island
  EXPECT_EQ(result.saved_ns, 400 * 7 / 10);
  EXPECT_EQ(result.saved_ns_by_moves, 400 * 7 / 10);
  EXPECT_EQ(result.transfer_ns, (std::array<std::int64_t, 4>{0, 3000, 0, 0}));
  EXPECT_EQ(result.transfer_ns_total, 3000);
  EXPECT_EQ(result.steps, 11);  // 3000 / 280, up
  EXPECT_FALSE(result.refused);
}

TEST(payback, moves_are_made_within_the_horizon_and_not_beyond) {
  scenario s = two_hot_experts();
  payback result;
  EXPECT_EQ(make_paying_plan(s.get(), {7000, 10, 11, {}}, result).moves(), 2);
  EXPECT_FALSE(result.refused);
  EXPECT_EQ(make_paying_plan(s.get(), {7000, 10, 10, {}}, result).moves(), 0);
  EXPECT_TRUE(result.refused);
  EXPECT_EQ(result.steps, 11);
}

TEST(payback, an_epoch_that_does_not_pay_still_shares_anew) {
  for (unsigned seed = 1; seed <= 8; ++seed) {
    scenario s = testing::uniform_scenario(testing::log_normal_loads(seed, 3, 24), 3, 24, 4, 8);
    s.current = make_plan(s.get()).target;
    s.request.policy = "flow";
    s.loads = testing::log_normal_loads(seed + 100, 3, 24);
    s.request.expert_bytes = 1000 * mib;
    payback result;
    const plan made = make_paying_plan(s.get(), {1000, 1000000, 1, {}}, result);
    EXPECT_TRUE(result.refused) << seed;
    EXPECT_EQ(made.moves(), 0) << seed;
    EXPECT_FALSE(made.changed.empty()) << seed;
    EXPECT_LT(made.balance_before(), made.balance_after()) << seed;
    EXPECT_GE(result.saved_ns, result.saved_ns_by_moves) << seed;
  }
}

TEST(payback, what_masked_ranks_force_is_moved_whatever_it_costs) {
  scenario s = testing::uniform_scenario(testing::log_normal_loads(1, 1, 8), 1, 8, 4, 3);
  s.request.policy = "flow";
  s.request.expert_bytes = 1000 * mib;
  s.request.masked_ranks = {0, 0, 1, 0};
  payback result;
  const plan made = make_paying_plan(s.get(), {1000, 1000000, 1, {}}, result);
  EXPECT_EQ(why_illegal(made.target, false), "");
  for (int slot = 6; slot < 9; ++slot) EXPECT_EQ(made.target.experts_of(0)[slot], no_expert);
}

TEST(payback, without_a_price_of_time_nothing_is_judged) {
  scenario s = two_hot_experts();
  payback result;
  EXPECT_EQ(make_paying_plan(s.get(), {0, 10, 1, {}}, result).moves(), 2);
  EXPECT_FALSE(result.refused);
  EXPECT_EQ(result.saved_ns, 0);
  EXPECT_EQ(result.transfer_ns_total, 3000);
  EXPECT_EQ(result.steps, -1);
}

TEST(payback, the_largest_numbers_do_not_overflow) {
  scenario s = two_hot_experts();
  s.loads = {std::int64_t{1} << 61, std::int64_t{1} << 61, 0, 0, 0, 0, 0, 0};
  s.request.expert_bytes = std::int64_t{1} << 46;
  payback result;
  make_paying_plan(s.get(), {std::int64_t{1000000000} * 1000, 1, 1, {}}, result);
  EXPECT_GT(result.saved_ns, 0);
  EXPECT_GT(result.transfer_ns_total, 0);
  EXPECT_EQ(result.steps, 1);
}

}  // namespace
}  // namespace ballast
