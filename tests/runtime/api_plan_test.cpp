// The C interface of planning without a runtime: legal placements, and summaries that agree with
// each other and with what can be counted from the placement.
#include "tests/runtime/api_plan.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <random>
#include <string>
#include <utility>
#include <vector>

namespace ballast::testing {
namespace {

constexpr double slack = 1e-12;

ballast_plan_summary summary_of(const plan_handle& plan) {
  ballast_plan_summary summary = {};
  summary.struct_size = sizeof(summary);
  EXPECT_EQ(ballast_plan_summarise(plan.get(), &summary), BALLAST_OK) << ballast_last_error();
  return summary;
}

ballast_plan_layer layer_of(const plan_handle& plan, int layer) {
  ballast_plan_layer summary = {};
  summary.struct_size = sizeof(summary);
  EXPECT_EQ(ballast_plan_layer_summary(plan.get(), layer, &summary), BALLAST_OK)
      << ballast_last_error();
  return summary;
}

struct placed {
  std::vector<std::int32_t> experts, shares;
};
placed placement_of(const plan_handle& plan, const question& q) {
  placed p = {std::vector<std::int32_t>(q.request.layers * q.slots(), -7),
              std::vector<std::int32_t>(q.request.layers * q.slots(), -7)};
  EXPECT_EQ(ballast_plan_placement(plan.get(), p.experts.data(), p.shares.data()), BALLAST_OK)
      << ballast_last_error();
  return p;
}

void expect_legal(const placed& p, const question& q, const std::string& what) {
  for (int layer = 0; layer < q.request.layers; ++layer) {
    std::vector<std::int64_t> share_sum(q.request.experts, 0);
    std::vector<int> last_rank(q.request.experts, -1);
    for (std::size_t slot = 0; slot < q.slots(); ++slot) {
      const std::int32_t expert = p.experts[layer * q.slots() + slot];
      const std::int32_t share = p.shares[layer * q.slots() + slot];
      ASSERT_TRUE(expert >= -1 && expert < q.request.experts) << what;
      ASSERT_GE(share, 0) << what;
      if (expert < 0) {
        ASSERT_EQ(share, 0) << what;
        continue;
      }
      const int rank = static_cast<int>(slot) / q.request.slots_per_rank;
      ASSERT_NE(last_rank[expert], rank)
          << what << ": expert " << expert << " twice on rank " << rank;
      last_rank[expert] = rank;
      share_sum[expert] += share;
    }
    for (int e = 0; e < q.request.experts; ++e)
      ASSERT_EQ(share_sum[e], 65536) << what << ": layer " << layer << ", expert " << e;
  }
}

// mean and max of the rank loads of one layer, from the placement alone.
std::pair<double, double> mean_and_max(const placed& p, const question& q, int layer) {
  std::vector<double> loads(q.request.ranks, 0);
  for (std::size_t slot = 0; slot < q.slots(); ++slot) {
    const std::int32_t expert = p.experts[layer * q.slots() + slot];
    if (expert < 0) continue;
    loads[slot / q.request.slots_per_rank] +=
        static_cast<double>(q.loads[layer * q.request.experts + expert]) *
        p.shares[layer * q.slots() + slot] / 65536;
  }
  double sum = 0;
  for (const double load : loads) sum += load;
  return {sum / q.request.ranks, *std::max_element(loads.begin(), loads.end())};
}

TEST(api_plan, initialiser_fills_the_documented_defaults) {
  ballast_plan_request r;
  std::memset(&r, 0xff, sizeof(r));
  ballast_plan_request_init(&r);
  EXPECT_EQ(r.struct_size, sizeof(r));
  EXPECT_EQ(
      r.layers + r.experts + r.ranks + r.slots_per_rank + r.compatible + r.objective + r.passes, 0);
  EXPECT_TRUE(r.loads == nullptr && r.placement == nullptr && r.shares == nullptr &&
              r.topology == nullptr);
  EXPECT_STREQ(r.policy, BALLAST_DEFAULT_POLICY);
  EXPECT_EQ(r.groups, 1);
  EXPECT_EQ(r.max_moves, -1);
  EXPECT_EQ(r.max_moves_total, -1);
  for (const std::int64_t bytes : r.max_bytes_per_link) EXPECT_EQ(bytes, -1);
  EXPECT_EQ(r.max_bytes, -1);
  EXPECT_EQ(r.expert_bytes, 0);
  EXPECT_EQ(r.threads, 1);
  EXPECT_EQ(r.seed, 1u);
}

TEST(api_plan, placements_are_legal_and_summaries_are_what_can_be_counted) {
  for (std::uint64_t seed = 0; seed < 40; ++seed) {
    std::mt19937_64 random(seed);
    const int experts = std::vector{1, 2, 7, 16, 64}[random() % 5];
    const int ranks = std::vector{1, 2, 3, 8}[random() % 4];
    const int slots =
        std::min(experts, (experts + ranks - 1) / ranks + static_cast<int>(random() % 3));
    question q(static_cast<int>(1 + random() % 4), experts, ranks, slots, seed);
    const std::string what = "seed " + std::to_string(seed);
    const plan_handle plan = q.make();
    ASSERT_NE(plan, nullptr) << what;
    const placed target = placement_of(plan, q);
    expect_legal(target, q, what);

    question at_start = q;  // static keeps what is there: the initial placement
    at_start.request.loads = at_start.loads.data();
    at_start.request.policy = "static";
    const placed before = placement_of(at_start.make(), q);
    const ballast_plan_summary summary = summary_of(plan);
    double means = 0, befores = 0, afters = 0;
    std::int64_t moves = 0;
    int changed = 0;
    for (int layer = 0; layer < q.request.layers; ++layer) {
      const ballast_plan_layer one = layer_of(plan, layer);
      const auto [mean, most_before] = mean_and_max(before, q, layer);
      const double most_after = mean_and_max(target, q, layer).second;
      means += mean;
      befores += most_before;
      afters += most_after;
      ASSERT_NEAR(one.balance_before, most_before > 0 ? mean / most_before : 1, 1e-9) << what;
      ASSERT_NEAR(one.balance_after, most_after > 0 ? mean / most_after : 1, 1e-9) << what;
      ASSERT_LE(one.balance_after, one.balance_bound + slack) << what;
      moves += one.moves;
      const auto begin = layer * static_cast<std::ptrdiff_t>(q.slots());
      const auto same = [&](const auto& a, const auto& b) {
        return std::equal(a.begin() + begin,
                          a.begin() + begin + static_cast<std::ptrdiff_t>(q.slots()),
                          b.begin() + begin);
      };
      changed += !(same(before.experts, target.experts) && same(before.shares, target.shares));
    }
    EXPECT_EQ(summary.moves, moves) << what;
    EXPECT_EQ(summary.layers_changed, changed) << what;
    EXPECT_NEAR(summary.balance_before, befores > 0 ? means / befores : 1, 1e-9) << what;
    EXPECT_NEAR(summary.balance_after, afters > 0 ? means / afters : 1, 1e-9) << what;
    EXPECT_LE(summary.balance_after, summary.balance_bound + slack) << what;
    EXPECT_NEAR(summary.gap, summary.balance_bound / summary.balance_after - 1, 1e-9) << what;
    EXPECT_GE(summary.gap, -slack) << what;
    EXPECT_TRUE(summary.batches > 0 || moves == 0) << what;
    EXPECT_GE(summary.plan_seconds, 0);
    EXPECT_GE(summary.schedule_seconds, 0);
  }
}

TEST(api_plan, same_request_gives_the_same_plan_for_any_number_of_threads) {
  question q(9, 64, 8, 10);
  const plan_handle one = q.make();
  for (const int threads : {2, 3, 8}) {
    q.request.threads = threads;
    const plan_handle many = q.make();
    EXPECT_EQ(summary_of(one).digest, summary_of(many).digest);
    EXPECT_EQ(placement_of(one, q).experts, placement_of(many, q).experts);
  }
  q.loads[5] += 1;
  EXPECT_NE(summary_of(q.make()).digest, summary_of(one).digest);
}

TEST(api_plan, planning_from_its_own_target_moves_nothing) {
  question q(3, 32, 4, 9);
  const placed target = placement_of(q.make(), q);
  q.request.placement = target.experts.data();
  q.request.shares = target.shares.data();
  const ballast_plan_summary again = summary_of(q.make());
  EXPECT_EQ(again.moves, 0);  // shares may still settle by a few 65536ths
  EXPECT_EQ(again.batches, 0);
}

TEST(api_plan, moves_are_told_apart_by_link) {
  question q(2, 32, 8, 5);
  const topology_handle pairs = nodes_of(8, 2);
  const ballast_plan_summary alone = summary_of(q.make());
  EXPECT_GT(alone.moves, 0);
  EXPECT_EQ(alone.moves_by_link[BALLAST_LINK_REMOTE], 0)
      << "without a topology all ranks are on one node";
  q.request.topology = pairs.get();
  const ballast_plan_summary spread = summary_of(q.make());
  EXPECT_GT(spread.moves_by_link[BALLAST_LINK_REMOTE], 0);
  for (const ballast_plan_summary& s : {alone, spread}) {
    std::int64_t across = 0;
    for (int c = BALLAST_LINK_ISLAND; c < BALLAST_LINK_CLASSES; ++c) across += s.moves_by_link[c];
    // What its rank does not hold crosses a link; detours and copies inside a rank come on top.
    EXPECT_GE(across, s.moves);
  }
}

TEST(api_plan, limits_bind) {
  question q(4, 32, 4, 9);
  ASSERT_GT(summary_of(q.make()).moves, 0);
  q.request.max_moves = 0;
  EXPECT_EQ(summary_of(q.make()).moves, 0);
  q.request.max_moves = -1;
  q.request.expert_bytes = 1000;
  q.request.max_bytes = 999;
  EXPECT_EQ(summary_of(q.make()).moves, 0);
  q.request.max_bytes = 1000000;
  EXPECT_GT(summary_of(q.make()).moves, 0);
}

TEST(api_plan, limits_of_all_layers_and_links_bind) {
  question q(4, 32, 4, 9);
  const std::int64_t all = summary_of(q.make()).moves;
  ASSERT_GT(all, 8);
  q.request.max_moves_total = 8;
  const std::int64_t some = summary_of(q.make()).moves;
  EXPECT_GT(some, 0);
  EXPECT_LE(some, 8);
  q.request.max_moves_total = -1;
  q.request.expert_bytes = 1000;
  q.request.max_bytes_per_link[BALLAST_LINK_ISLAND] = 3999;  // all ranks are one island
  EXPECT_LE(summary_of(q.make()).moves, 3);
}

TEST(api_plan, ranks_may_be_masked_or_slow_and_shares_equal) {
  question q(2, 8, 4, 3);
  const std::uint8_t dead[] = {0, 1, 0, 0};
  const std::int32_t speeds[] = {2, 1, 1, 1};
  q.request.masked_ranks = dead;
  q.request.rank_speed = speeds;
  q.request.equal_shares = 1;
  q.request.cold_start = 1;
  const auto plan = q.make();
  std::vector<std::int32_t> experts(2 * 12);
  std::vector<std::int32_t> shares(2 * 12);
  ASSERT_EQ(ballast_plan_placement(plan.get(), experts.data(), shares.data()), BALLAST_OK);
  for (int layer = 0; layer < 2; ++layer) {
    for (int slot = 3; slot < 6; ++slot) EXPECT_EQ(experts[layer * 12 + slot], -1);
    for (int slot = 0; slot < 12; ++slot) {
      const std::int32_t expert = experts[layer * 12 + slot];
      if (expert < 0) continue;
      const auto count =
          std::count(experts.begin() + layer * 12, experts.begin() + layer * 12 + 12, expert);
      EXPECT_LE(std::abs(shares[layer * 12 + slot] - 65536 / count), 1);
    }
  }
  const std::int32_t wrong[] = {1, 0, 1, 1};
  q.request.rank_speed = wrong;
  ballast_plan* none = nullptr;
  EXPECT_EQ(ballast_plan_create(&q.request, &none), BALLAST_ERROR_INVALID_ARGUMENT);
  EXPECT_STREQ(ballast_last_error(), "rank_speed: rank 1: 0 is not in [1, 65536]");
}

TEST(api_plan, slots_are_chosen_within_a_budget_and_planned_with) {
  question asked(6, 48, 8, 7);
  asked.request.threads = 2;
  std::vector<std::int32_t> slots(6);
  std::vector<double> fewest(6), chosen(6);
  ballast_slots_summary s;
  s.struct_size = sizeof(s);
  const auto choose = [&](std::int64_t budget) {
    return ballast_slots_choose(&asked.request, budget, slots.data(), fewest.data(), chosen.data(),
                                &s);
  };
  ASSERT_EQ(choose(6 * 6 + 3), BALLAST_OK) << ballast_last_error();
  EXPECT_EQ(s.slots_fewest, 36);
  EXPECT_LE(s.slots, 39);
  EXPECT_GT(s.slots, 36);
  EXPECT_GT(s.balance, s.balance_fewest);
  std::int64_t sum = 0;
  for (int layer = 0; layer < 6; ++layer) {
    sum += slots[layer];
    EXPECT_EQ(slots[layer] > 6, chosen[layer] > fewest[layer]) << layer;
  }
  EXPECT_EQ(sum, s.slots);

  asked.request.slots_per_rank = *std::ranges::max_element(slots);
  asked.request.slots_per_layer = slots.data();
  asked.request.cold_start = 1;
  const plan_handle plan = asked.make();
  ballast_plan_summary made;
  made.struct_size = sizeof(made);
  ASSERT_EQ(ballast_plan_summarise(plan.get(), &made), BALLAST_OK);
  EXPECT_NEAR(made.balance_after, s.balance, slack);
  std::vector<std::int32_t> experts(6 * asked.slots());
  ASSERT_EQ(ballast_plan_placement(plan.get(), experts.data(), nullptr), BALLAST_OK);
  for (std::size_t i = 0; i < experts.size(); ++i) {
    const auto row = static_cast<std::int32_t>(i) % asked.request.slots_per_rank;
    if (row >= slots[i / asked.slots()]) {
      EXPECT_EQ(experts[i], -1) << i;
    }
  }

  EXPECT_EQ(choose(35), BALLAST_ERROR_INVALID_ARGUMENT);
  EXPECT_STREQ(ballast_last_error(),
               "slots_budget: 35 slots of a rank in all layers are fewer than the 36 that one "
               "replica of every expert takes");
  slots[2] = 9;
  EXPECT_EQ(asked.refusal(), "slots_per_layer[2] is 9, expected 1 to " +
                                 std::to_string(asked.request.slots_per_rank) +
                                 " (slots_per_rank)");
}

TEST(api_plan, bytes_are_limited_only_where_an_expert_has_some) {
  question q(2, 8, 4, 3);
  q.request.max_bytes = 0;
  EXPECT_EQ(q.refusal(), "max_bytes is 0, but expert_bytes is 0");
  q.request.max_bytes = -1;
  q.request.max_bytes_per_link[BALLAST_LINK_REMOTE] = 7;
  EXPECT_EQ(q.refusal(), "max_bytes_per_link is 7, but expert_bytes is 0");
  q.request.expert_bytes = 1;
  EXPECT_EQ(q.refusal(), "accepted");
}

TEST(api_plan, equal_shares_are_equal_to_one_part_and_free_ones_are_not) {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    question q(3, 24, 4, 8, seed);
    const auto widest_gap = [&] {
      const placed p = placement_of(q.make(), q);
      expect_legal(p, q, "seed " + std::to_string(seed));
      std::int32_t gap = 0;
      for (int layer = 0; layer < 3; ++layer) {
        std::vector<std::int32_t> least(24, 65536), most(24, 0);
        for (std::size_t slot = layer * q.slots(); slot < (layer + 1) * q.slots(); ++slot) {
          if (p.experts[slot] < 0) continue;
          least[p.experts[slot]] = std::min(least[p.experts[slot]], p.shares[slot]);
          most[p.experts[slot]] = std::max(most[p.experts[slot]], p.shares[slot]);
        }
        for (int e = 0; e < 24; ++e) gap = std::max(gap, most[e] - least[e]);
      }
      return gap;
    };
    EXPECT_GT(widest_gap(), 1) << seed;
    q.request.equal_shares = 1;
    EXPECT_LE(widest_gap(), 1) << seed;
  }
}

TEST(api_plan, loads_of_zero_are_balanced) {
  question q(2, 8, 4, 3);
  std::fill(q.loads.begin(), q.loads.end(), 0);
  const ballast_plan_summary s = summary_of(q.make());
  EXPECT_EQ(s.balance_before, 1);
  EXPECT_EQ(s.balance_after, 1);
  EXPECT_EQ(s.balance_bound, 1);
  EXPECT_EQ(s.gap, 0);
  EXPECT_EQ(s.moves, 0);
}

}  // namespace
}  // namespace ballast::testing
