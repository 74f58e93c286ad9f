#include "policies/activations.hpp"

#include <gtest/gtest.h>

#include <cmath>

#include "tests/policies/scenario.hpp"

namespace ballast {
namespace {

using ints = std::vector<std::int32_t>;
using longs = std::vector<std::int64_t>;

TEST(activations, are_the_passes_that_random_tokens_hit) {
  EXPECT_EQ(expected_activations(0, 10), 0);
  EXPECT_EQ(expected_activations(1, 10), 1);
  EXPECT_EQ(expected_activations(5, 1), 1);
  EXPECT_EQ(expected_activations(std::int64_t{1} << 62, 1000), 1000);
  for (const std::int64_t passes : {2, 7, 48, 1000, 1000000}) {
    for (const std::int64_t load : {2, 3, 10, 47, 1000, 123456}) {
      const double exact =
          static_cast<double>(passes) *
          -std::expm1(static_cast<double>(load) * std::log1p(-1.0 / static_cast<double>(passes)));
      EXPECT_NEAR(static_cast<double>(expected_activations(load, passes)), exact, 0.501)
          << load << " tokens in " << passes << " passes";
    }
  }
}

/// The fullest rank if every expert is served by the best one of its replicas, by trying all ways.
std::int64_t best_by_trying(const longs& activations, const slot_layout& layout,
                            std::span<const std::int32_t> experts) {
  const replica_lists replicas = list_replicas(experts, static_cast<int>(activations.size()));
  longs load(static_cast<std::size_t>(layout.ranks()), 0);
  const auto rest = [&](auto&& self, std::size_t expert) -> std::int64_t {
    if (expert == activations.size()) return std::ranges::max(load);
    std::int64_t best = std::int64_t{1} << 62;
    for (int i = replicas.first_replica[expert]; i < replicas.first_replica[expert + 1]; ++i) {
      const int rank = layout.rank_of(replicas.slot_of_replica[i]);
      load[rank] += activations[expert];
      best = std::min(best, self(self, expert + 1));
      load[rank] -= activations[expert];
    }
    return best;
  };
  return rest(rest, 0);
}

TEST(activations, whole_serving_is_near_the_best_there_is) {
  double sum = 0;
  constexpr int seeds = 300;
  for (std::uint64_t seed = 1; seed <= seeds; ++seed) {
    testing::generator random(seed);
    const int ranks = 2 + static_cast<int>(random.below(4));
    const int experts = 6 + static_cast<int>(random.below(7));
    const int per_rank = experts / ranks + 2;
    const slot_layout layout = slot_layout::uniform(ranks, per_rank);
    const placement current = initial_placement(
        1, experts, layout, ints(static_cast<std::size_t>(ranks), std::min(per_rank, experts)));
    longs activations(static_cast<std::size_t>(experts));
    for (auto& value : activations) value = random.below(49);
    ints shares(static_cast<std::size_t>(layout.slots()));
    const std::int64_t served =
        whole_server().serve(activations, layout, current.experts_of(0), shares);
    const std::int64_t best = best_by_trying(activations, layout, current.experts_of(0));
    EXPECT_GE(served, best);
    EXPECT_LE(served * 10, best * 13 + 10) << "seed " << seed;
    sum += best == 0 ? 1 : static_cast<double>(served) / static_cast<double>(best);
    longs read(static_cast<std::size_t>(ranks), 0);
    for (int slot = 0; slot < layout.slots(); ++slot) {
      EXPECT_TRUE(shares[slot] == 0 || shares[slot] == share_one);
      if (shares[slot] > 0) read[layout.rank_of(slot)] += activations[current.experts_of(0)[slot]];
    }
    EXPECT_EQ(std::ranges::max(read), served);
  }
  EXPECT_LT(sum / seeds, 1.015);
}

TEST(activations, every_policy_serves_whole_and_no_worse_than_now) {
  for (const char* policy : policy_names()) {
    if (std::string(policy) == "deepseek-hierarchical") continue;
    for (std::uint64_t seed = 1; seed <= 40; ++seed) {
      testing::generator random(seed);
      longs loads(2 * 24);
      for (auto& load : loads) load = testing::log_normal_load(random) / 256;
      testing::scenario s = testing::uniform_scenario(loads, 2, 24, 6, 5);
      s.request.policy = policy;
      s.request.objective = plan_objective::activations;
      s.request.passes = 16;
      const plan made = make_plan(s.get());
      EXPECT_EQ(why_illegal(made.target, false), "") << policy;
      for (int layer = 0; layer < 2; ++layer) {
        EXPECT_LE(made.layers[layer].max_after, made.layers[layer].max_before) << policy;
        EXPECT_GE(made.layers[layer].max_after, made.layers[layer].bound) << policy;
        if (made.layers[layer].max_after == made.layers[layer].max_before) continue;
        for (const std::int32_t share : made.target.shares_of(layer)) {
          EXPECT_TRUE(share == 0 || share == share_one) << policy;
        }
      }
      s.request.threads = 2;
      EXPECT_EQ(make_plan(s.get()).digest, made.digest) << policy;
    }
  }
}

TEST(activations, every_replica_with_a_share_counts_as_read) {
  testing::scenario s = testing::uniform_scenario({10, 4, 6}, 1, 3, 2, 2);  // 0 1 | 2 0
  s.request.objective = plan_objective::activations;
  s.request.policy = "static";
  const plan kept = make_plan(s.get());
  EXPECT_EQ(kept.layers[0].max_before, scaled_load{16} * share_one);
  EXPECT_EQ(kept.layers[0].max_after, scaled_load{16} * share_one);
  s.request.policy = "deepseek";
  s.request.limits.max_moves_per_layer = 0;
  const plan whole = make_plan(s.get());
  EXPECT_EQ(whole.layers[0].max_after, scaled_load{14} * share_one);
  EXPECT_EQ(ints(whole.target.shares_of(0).begin(), whole.target.shares_of(0).end()),
            (ints{share_one, share_one, share_one, 0}));
}

TEST(activations, are_refused_where_they_have_no_meaning) {
  const auto why = [](auto&& change) {
    testing::scenario s = testing::uniform_scenario(longs(4, 1), 1, 4, 2, 2);
    s.request.objective = plan_objective::activations;
    s.get();
    change(s.request);
    return why_unplannable(s.request);
  };
  EXPECT_EQ(why([](plan_request&) {}), "");
  EXPECT_EQ(why([](plan_request& r) { r.passes = -1; }), "passes: -1 is negative");
  EXPECT_EQ(why([](plan_request& r) { r.equal_shares = true; }),
            "equal_shares: activations are not split");
  EXPECT_EQ(why([](plan_request& r) {
              r.rank_speed = {1, 2};
            }),
            "rank_speed: not for the objective activations");
}

}  // namespace
}  // namespace ballast
