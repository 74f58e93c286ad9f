#include "policies/plan.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>

#include "jobs/bench/plain_greedy.hpp"
#include "policies/balance.hpp"
#include "tests/policies/scenario.hpp"

namespace ballast {
namespace {

using ints = std::vector<std::int32_t>;
using longs = std::vector<std::int64_t>;

/// Ragged slots, some of them not usable, empty slots, unequal shares, ties, zeros and hot experts.
testing::scenario random_scenario(std::uint64_t seed) {
  testing::generator random(seed);
  const int ranks = 1 + static_cast<int>(random.below(7));
  const int experts = 1 + static_cast<int>(random.below(13));
  const int layers = 1 + static_cast<int>(random.below(5));
  const bool ragged = random.below(2) == 1;
  ints usable(static_cast<std::size_t>(ranks), 1);
  for (auto& slots : usable) slots = ragged ? static_cast<std::int32_t>(random.below(5)) : 1;
  while (std::accumulate(usable.begin(), usable.end(), 0) < experts) {
    for (auto& slots : usable) slots += !ragged || random.below(2) == 1 ? 1 : 0;
  }
  ints total = usable;
  for (auto& slots : total) slots += ragged ? static_cast<std::int32_t>(random.below(3)) : 0;
  longs loads(static_cast<std::size_t>(layers) * experts);
  for (int layer = 0; layer < layers; ++layer) {
    const std::int64_t kind = random.below(5);
    for (int expert = 0; expert < experts; ++expert) {
      loads[layer * experts + expert] = kind == 0   ? 0
                                        : kind == 1 ? random.below(4)
                                        : kind == 2 ? (expert == 0 ? 12345 : 0)
                                                    : testing::log_normal_load(random);
    }
  }
  testing::scenario result(std::move(loads),
                           initial_placement(layers, experts, slot_layout::ragged(total), usable),
                           testing::even_cluster(1, ranks));
  result.request.usable_slots = usable;
  // Unequal shares in the first layer: all of an expert's tokens to its first replica.
  const auto shares = result.current.shares_of(0);
  const replica_lists lists = list_replicas(result.current.experts_of(0), experts);
  for (int expert = 0; expert < experts && random.below(2) == 1; ++expert) {
    for (int k = lists.first_replica[expert]; k < lists.first_replica[expert + 1]; ++k) {
      shares[lists.slot_of_replica[k]] = k == lists.first_replica[expert] ? share_one : 0;
    }
  }
  return result;
}

bool has_duplicates(const placement& place) { return !why_illegal(place, false).empty(); }

void expect_stayers_keep_their_slots(const placement& current, const placement& target,
                                     const std::string& what) {
  for (int layer = 0; layer < current.layers(); ++layer) {
    const auto before = current.experts_of(layer);
    const auto after = target.experts_of(layer);
    for (int slot = 0; slot < current.slots(); ++slot) {
      if (after[slot] == no_expert || after[slot] == before[slot]) continue;
      const int rank = current.layout().rank_of(slot);
      const auto held = before.subspan(current.layout().first(rank), current.layout().count(rank));
      EXPECT_EQ(std::find(held.begin(), held.end(), after[slot]), held.end())
          << what << " layer " << layer << " slot " << slot;
    }
  }
}

TEST(plan, keeps_every_promise_for_random_requests) {
  for (std::uint64_t seed = 1; seed <= 1500; ++seed) {
    const std::string what = "seed " + std::to_string(seed);
    testing::scenario s = random_scenario(seed);
    const bool duplicates_before = has_duplicates(s.current);
    const plan planned = make_plan(s.get());
    EXPECT_EQ(why_illegal(planned.target, false), "") << what;
    for (int layer = 0; layer < s.current.layers(); ++layer) {
      const auto experts = planned.target.experts_of(layer);
      for (int rank = 0; rank < s.current.layout().ranks(); ++rank) {
        const auto held =
            experts.subspan(s.current.layout().first(rank), s.current.layout().count(rank));
        EXPECT_LE(std::count_if(held.begin(), held.end(), [](int e) { return e >= 0; }),
                  s.request.usable_slots[rank])
            << what;
      }
      const layer_outcome& outcome = planned.layers[layer];
      if (!duplicates_before) {
        EXPECT_TRUE(outcome.max_after <= outcome.max_before) << what;
      }
      EXPECT_TRUE(outcome.bound <= outcome.max_after)
          << what << " layer " << layer << " " << static_cast<double>(outcome.bound) << " "
          << static_cast<double>(outcome.max_after);
      const bool changed =
          std::binary_search(planned.changed.begin(), planned.changed.end(), layer);
      EXPECT_EQ(changed, !std::ranges::equal(experts, s.current.experts_of(layer)) ||
                             !std::ranges::equal(planned.target.shares_of(layer),
                                                 s.current.shares_of(layer)))
          << what;
      if (changed && !duplicates_before) {
        EXPECT_TRUE(outcome.max_after < outcome.max_before) << what;
      }
    }
    expect_stayers_keep_their_slots(s.current, planned.target, what);
  }
}

TEST(plan, is_the_same_for_any_thread_count) {
  for (const char* policy : {"static", "random", "deepseek"}) {
    testing::scenario s =
        testing::uniform_scenario(testing::log_normal_loads(3, 13, 24), 13, 24, 6, 5);
    s.request.policy = policy;
    const plan alone = make_plan(s.get());
    for (int threads : {2, 3, 7, 8, 13, 100}) {
      s.request.threads = threads;
      const plan shared = make_plan(s.get());
      EXPECT_EQ(shared.target, alone.target) << policy << threads;
      EXPECT_EQ(shared.digest, alone.digest) << policy << threads;
      EXPECT_EQ(shared.changed, alone.changed) << policy << threads;
    }
  }
}

TEST(plan, replanning_the_target_changes_nothing) {
  testing::scenario s = testing::uniform_scenario(testing::log_normal_loads(5, 4, 32), 4, 32, 8, 5);
  const plan first = make_plan(s.get());
  EXPECT_FALSE(first.changed.empty());
  s.current = first.target;
  const plan second = make_plan(s.get());
  EXPECT_TRUE(second.changed.empty());
  EXPECT_EQ(second.moves(), 0);
  EXPECT_EQ(second.target, first.target);
}

TEST(plan, digest_depends_on_everything_but_threads) {
  testing::scenario s = testing::uniform_scenario(testing::log_normal_loads(9, 3, 16), 3, 16, 4, 5);
  s.request.policy = "static";  // the target does not hide the inputs
  std::vector<std::uint64_t> seen = {make_plan(s.get()).digest};
  const auto differs = [&](auto&& change) {
    testing::scenario other = s;
    change(other);
    seen.push_back(make_plan(other.get()).digest);
    return std::count(seen.begin(), seen.end(), seen.back()) == 1;
  };
  EXPECT_TRUE(differs([](testing::scenario& o) { ++o.loads[17]; }));
  EXPECT_TRUE(differs([](testing::scenario& o) {
    std::swap(o.current.experts_of(1)[1], o.current.experts_of(1)[2]);
  }));
  EXPECT_TRUE(differs([](testing::scenario& o) {
    o.current.shares_of(2)[0] += 8, o.current.shares_of(2)[16] -= 8;
  }));
  EXPECT_TRUE(differs([](testing::scenario& o) { o.request.usable_slots = {5, 5, 5, 4}; }));
  EXPECT_TRUE(differs([](testing::scenario& o) { o.request.policy = "deepseek"; }));
  EXPECT_TRUE(differs([](testing::scenario& o) { o.request.compatible = true; }));
  EXPECT_TRUE(differs([](testing::scenario& o) { o.request.groups = 2; }));
  EXPECT_TRUE(differs([](testing::scenario& o) { o.request.seed = 2; }));
  EXPECT_TRUE(differs([](testing::scenario& o) { o.request.expert_bytes = 1; }));
  EXPECT_TRUE(differs([](testing::scenario& o) { o.request.limits.max_moves_per_layer = 1; }));
  EXPECT_TRUE(differs([](testing::scenario& o) { o.request.limits.max_bytes_per_rank = 1; }));
  const longs series(2 * 48, 7);
  EXPECT_TRUE(differs([&](testing::scenario& o) { o.request.series = series; }));
  EXPECT_TRUE(
      differs([&](testing::scenario& o) { o.request.series = std::span(series).first(48); }));
  EXPECT_TRUE(differs([&](testing::scenario& o) { o.request.deviations = series; }));
  EXPECT_TRUE(differs([](testing::scenario& o) { o.cluster.ranks[3].gpu = 3; }));
  EXPECT_TRUE(differs([](testing::scenario& o) { o.cluster.cost_ns_per_mib[1] = 1; }));
  s.request.threads = 3;
  EXPECT_EQ(make_plan(s.get()).digest, seen[0]);
}

TEST(plan, idle_layers_keep_their_placement) {
  testing::scenario s = testing::uniform_scenario(longs(40, 0), 2, 20, 4, 6);
  const plan planned = make_plan(s.get());
  EXPECT_TRUE(planned.changed.empty());
  EXPECT_EQ(planned.balance_before(), 1.0);
  EXPECT_EQ(planned.gap(), 0.0);
}

TEST(plan, one_expert_with_all_the_load_gets_all_ranks) {
  longs loads(7, 0);
  loads[3] = 700;
  testing::scenario s = testing::uniform_scenario(loads, 1, 7, 5, 3);
  const plan planned = make_plan(s.get());
  const auto experts = planned.target.experts_of(0);
  EXPECT_EQ(std::count(experts.begin(), experts.end(), 3), 5);
  EXPECT_NEAR(planned.balance_after(), 1.0, 1e-4);
}

TEST(plan, more_slots_than_experts_can_fill_stay_empty) {
  testing::scenario s = testing::uniform_scenario({5, 9}, 1, 2, 3, 4);
  s.current = initial_placement(1, 2, slot_layout::uniform(3, 4), ints{1, 1, 0});
  const plan planned = make_plan(s.get());
  const auto experts = planned.target.experts_of(0);
  EXPECT_EQ(std::count(experts.begin(), experts.end(), no_expert), 6);
  EXPECT_EQ(why_illegal(planned.target, false), "");
}

TEST(plan, hierarchical_keeps_the_replicas_of_a_group_on_its_node) {
  for (std::uint64_t seed = 1; seed <= 40; ++seed) {
    testing::scenario s =
        testing::uniform_scenario(testing::log_normal_loads(seed, 3, 48), 3, 48, 12, 6);
    s.cluster = testing::even_cluster(3, 4);
    s.request.groups = 6;
    const plan planned = make_plan(s.get());
    EXPECT_EQ(why_illegal(planned.target, false), "") << seed;
    for (const std::int32_t layer : planned.changed) {
      ints node_of_group(6, -1);
      const auto experts = planned.target.experts_of(layer);
      for (int slot = 0; slot < 72; ++slot) {
        const int node = slot / 24;
        std::int32_t& home = node_of_group[experts[slot] / 8];
        if (home < 0) home = node;
        EXPECT_EQ(home, node) << "seed " << seed << " layer " << layer << " slot " << slot;
      }
    }
  }
}

TEST(plan, hierarchical_brings_groups_home_even_where_that_wins_no_balance) {
  // Experts 0 and 1 are a group, and so on; each has one half on either node.
  testing::scenario s = testing::uniform_scenario(longs(8, 5), 1, 8, 4, 2);
  s.cluster = testing::even_cluster(2, 2);
  s.request.groups = 4;
  std::ranges::copy(ints{0, 2, 4, 6, 1, 3, 5, 7}, s.current.experts_of(0).begin());
  for (const std::vector<std::int64_t>& loads : {longs(8, 5), longs{9, 9, 1, 1, 1, 1, 1, 1}}) {
    s.loads = loads;
    for (const char* policy : {"deepseek", "deepseek-hierarchical", "deepseek-vec", "flow"}) {
      s.request.policy = policy;
      const plan planned = make_plan(s.get());
      const auto experts = planned.target.experts_of(0);
      const auto node_of = [&](int expert) {
        return (std::ranges::find(experts, expert) - experts.begin()) / 4;
      };
      for (int expert = 0; expert < 8; expert += 2)
        EXPECT_EQ(node_of(expert), node_of(expert + 1)) << policy << " expert " << expert;
    }
    s.request.policy = "deepseek-global";
    EXPECT_EQ(make_plan(s.get()).moves(), 0);  // it keeps what it cannot better
  }
}

TEST(plan, random_swaps_are_legal_seeded_and_differ_between_layers) {
  testing::scenario s = testing::uniform_scenario(testing::log_normal_loads(2, 6, 30), 6, 30, 6, 7);
  s.request.policy = "random";
  const plan planned = make_plan(s.get());
  EXPECT_EQ(why_illegal(planned.target, false), "");
  EXPECT_EQ(planned.changed.size(), 6u);
  EXPECT_GT(planned.moves(), 12);
  expect_stayers_keep_their_slots(s.current, planned.target, "random");
  EXPECT_FALSE(std::ranges::equal(planned.target.experts_of(0), planned.target.experts_of(1)));
  EXPECT_EQ(make_plan(s.get()).target, planned.target);
  s.request.seed = 2;
  EXPECT_NE(make_plan(s.get()).target, planned.target);
}

TEST(plan, random_swaps_stay_legal_for_any_request) {
  for (std::uint64_t seed = 1; seed <= 500; ++seed) {
    testing::scenario s = random_scenario(seed);
    s.request.policy = "random";
    const bool duplicates_before = has_duplicates(s.current);
    const plan planned = make_plan(s.get());
    EXPECT_EQ(why_illegal(planned.target, duplicates_before), "") << "seed " << seed;
    expect_stayers_keep_their_slots(s.current, planned.target, "seed " + std::to_string(seed));
  }
}

TEST(plan, bound_allows_for_slots_that_are_empty_now) {
  // Filled, one of the three experts needs two replicas and the best is 11; left as it is, it
  // is 10.
  testing::scenario s = testing::uniform_scenario({10, 4, 6}, 1, 3, 2, 2);
  s.current.experts_of(0)[0] = 0, s.current.experts_of(0)[1] = no_expert;
  s.current.experts_of(0)[2] = 1, s.current.experts_of(0)[3] = 2;
  for (int slot = 0; slot < 4; ++slot) s.current.shares_of(0)[slot] = slot == 1 ? 0 : share_one;
  const plan planned = make_plan(s.get());
  EXPECT_TRUE(planned.changed.empty());
  EXPECT_TRUE(planned.layers[0].bound <= 10 * 65536);
  EXPECT_EQ(planned.gap(), 0.0);
}

TEST(plan, current_shares_count_in_what_it_improves) {
  // Balanced experts, but all tokens of the replicated one go to one of its replicas.
  testing::scenario s = testing::uniform_scenario({20, 10}, 1, 2, 2, 2);
  s.current = initial_placement(1, 2, slot_layout::uniform(2, 2), ints{2, 1});
  for (int slot = 0; slot < 4; ++slot) s.current.shares_of(0)[slot] = slot < 2 ? share_one : 0;
  s.request.usable_slots = {2, 1};
  const plan planned = make_plan(s.get());
  EXPECT_TRUE(planned.layers[0].max_before == 30 * 65536);
  EXPECT_TRUE(planned.layers[0].max_after == 20 * 65536);
  EXPECT_EQ(planned.moves(), 0);  // only the shares change
  EXPECT_EQ(planned.changed.size(), 1u);
}

TEST(plan, balance_is_a_ratio_of_sums_over_layers) {  // vLLM's published 0.25
  testing::scenario s = testing::uniform_scenario({100, 0, 0, 0, 100, 0, 0, 0}, 2, 4, 4, 1);
  s.request.policy = "static";
  EXPECT_EQ(make_plan(s.get()).balance_before(), 0.25);
  EXPECT_EQ(make_plan(s.get()).balance_after(), 0.25);
}

TEST(plan, balance_is_that_of_the_plain_greedy_or_hardly_below) {
  struct shape {
    int experts, ranks, slots_per_rank;
  };
  for (const shape& t : {shape{256, 32, 9},
                         {256, 64, 5},
                         {256, 144, 2},
                         {256, 320, 1},
                         {128, 16, 9},
                         {128, 64, 3},
                         {384, 128, 4}}) {
    double ours = 0;
    double plain = 0;
    for (std::uint64_t seed = 1; seed <= 10; ++seed) {
      testing::scenario s = testing::uniform_scenario(testing::log_normal_loads(seed, 1, t.experts),
                                                      1, t.experts, t.ranks, t.slots_per_rank);
      const plan planned = make_plan(s.get());
      ours += bench::plain_balance(s.loads, planned.target.experts_of(0), t.ranks);
      plain += bench::plain_balance(
          s.loads, bench::plain_greedy(s.loads, t.ranks, t.slots_per_rank), t.ranks);
    }
    EXPECT_GT(ours / 10, plain / 10 - 1e-3) << t.experts << " experts " << t.ranks << " ranks";
  }
}

}  // namespace
}  // namespace ballast
