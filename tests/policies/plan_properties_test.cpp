// What every policy promises, for every policy there is: not worse than before, within the budget,
// carried out in legal batches, layer by layer independent.

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <string>

#include "policies/limits.hpp"
#include "policies/schedule.hpp"
#include "tests/policies/scenario.hpp"
#include "tests/policies/schedule_checker.hpp"

namespace ballast {
namespace {

using longs = std::vector<std::int64_t>;

/// Layers of equal shape with legal placements of their own, on two nodes or one; loads with ties,
/// zeros and hot experts; prime numbers of ranks and experts among the shapes.
testing::scenario random_scenario(std::uint64_t seed) {
  testing::generator random(seed);
  const int nodes = 1 + static_cast<int>(random.below(2));
  const int ranks = nodes * (1 + static_cast<int>(random.below(5)));
  const int slots_per_rank = 1 + static_cast<int>(random.below(5));
  const int experts = 1 + static_cast<int>(random.below(ranks * slots_per_rank));
  const int layers = 1 + static_cast<int>(random.below(5));
  const slot_layout layout = slot_layout::uniform(ranks, slots_per_rank);
  placement current(layers, experts, layout);
  longs loads;
  for (int layer = 0; layer < layers; ++layer) {
    const auto held = current.experts_of(layer);
    std::vector<std::int32_t> slots(held.size());
    std::iota(slots.begin(), slots.end(), 0);
    for (std::size_t i = slots.size(); i > 1; --i)
      std::swap(slots[i - 1], slots[random.below(static_cast<std::int64_t>(i))]);
    for (std::size_t i = 0; i < slots.size(); ++i) {
      const auto expert = static_cast<std::int32_t>(
          i < static_cast<std::size_t>(experts) ? i : random.below(experts));
      const int rank = layout.rank_of(slots[i]);
      const auto row = held.subspan(layout.first(rank), layout.count(rank));
      if (std::ranges::find(row, expert) == row.end()) held[slots[i]] = expert;
    }
    set_equal_shares(held, experts, current.shares_of(layer));
    const std::int64_t kind = random.below(5);
    for (int expert = 0; expert < experts; ++expert) {
      loads.push_back(kind == 0   ? random.below(2)
                      : kind == 1 ? 7
                      : kind == 2 ? (expert == 0 ? 12345 : random.below(100))
                                  : testing::log_normal_load(random));
    }
  }
  return {std::move(loads), std::move(current), testing::even_cluster(nodes, ranks / nodes)};
}

/// Calls `claim` for seeds, policies and budgets, where the policy can plan the request at all.
template <typename Claim>
void for_all_plans(std::uint64_t seeds, Claim&& claim) {
  for (const char* policy : policy_names()) {
    int planned = 0;
    for (std::uint64_t seed = 1; seed <= seeds; ++seed) {
      testing::scenario s = random_scenario(seed);
      s.request.policy = policy;
      s.request.expert_bytes = 10;
      s.request.limits.max_moves_per_layer = static_cast<std::int64_t>(seed % 5) - 1;
      s.request.limits.max_bytes_per_rank =
          seed % 3 == 0 ? static_cast<std::int64_t>(seed % 7) * 5 : -1;
      if (!why_unplannable(s.get()).empty()) continue;
      ++planned;
      claim(s, "policy " + std::string(policy) + ", seed " + std::to_string(seed));
    }
    EXPECT_GT(planned, 0) << policy;
  }
}

TEST(every_policy, no_layer_gets_worse_and_no_budget_is_exceeded) {
  for_all_plans(400, [](testing::scenario& s, const std::string& what) {
    const plan planned = make_plan(s.get());
    const plan_limits& limits = s.request.limits;
    arrival_counter arrivals(s.current.experts());
    longs received(static_cast<std::size_t>(s.current.layout().ranks()), 0);
    for (int layer = 0; layer < s.current.layers(); ++layer) {
      const layer_outcome& outcome = planned.layers[layer];
      if (s.request.policy != "random") {
        EXPECT_TRUE(outcome.max_after <= outcome.max_before) << what << " layer " << layer;
      }
      const std::int32_t moves = arrivals.count(s.current.layout(), s.current.experts_of(layer),
                                                planned.target.experts_of(layer), received);
      EXPECT_EQ(moves, outcome.moves) << what << " layer " << layer;
      if (limits.max_moves_per_layer >= 0) {
        EXPECT_LE(moves, limits.max_moves_per_layer) << what << " layer " << layer;
      }
    }
    if (limits.max_bytes_per_rank < 0) return;
    for (const std::int64_t experts : received) {
      EXPECT_LE(experts * s.request.expert_bytes, limits.max_bytes_per_rank) << what;
    }
  });
}

TEST(every_policy, plans_are_carried_out_in_legal_batches) {
  for_all_plans(150, [](testing::scenario& s, const std::string& what) {
    const plan planned = make_plan(s.get());
    EXPECT_EQ(why_illegal(planned.target, false), "") << what;
    schedule_request request;
    request.current = &s.current;
    request.target = &planned.target;
    request.cluster = &s.cluster;
    const schedule made = make_schedule(request);
    EXPECT_EQ(testing::why_wrong(request, made), "") << what;
    EXPECT_GE(static_cast<std::int64_t>(made.moves.size()), planned.moves()) << what;
  });
}

/// The layers in another order: layer i of the result is layer order[i].
testing::scenario reordered(const testing::scenario& s, const std::vector<int>& order) {
  placement current(s.current.layers(), s.current.experts(), s.current.layout());
  longs loads;
  const auto experts = static_cast<std::size_t>(s.current.experts());
  for (std::size_t i = 0; i < order.size(); ++i) {
    std::ranges::copy(s.current.experts_of(order[i]), current.experts_of(i).begin());
    std::ranges::copy(s.current.shares_of(order[i]), current.shares_of(i).begin());
    const auto row = std::span(s.loads).subspan(order[i] * experts, experts);
    loads.insert(loads.end(), row.begin(), row.end());
  }
  testing::scenario result(std::move(loads), std::move(current), s.cluster);
  result.request = s.request;
  return result;
}

TEST(every_policy, permuted_layers_give_permuted_plans) {
  for_all_plans(200, [](testing::scenario& s, const std::string& what) {
    if (s.request.policy == "random") return;  // seeded by the layer's number
    s.request.limits.max_bytes_per_rank = -1;  // shared by the layers, who come in order of gain
    testing::generator random(s.loads.size());
    std::vector<int> order(static_cast<std::size_t>(s.current.layers()));
    std::iota(order.begin(), order.end(), 0);
    for (std::size_t i = order.size(); i > 1; --i)
      std::swap(order[i - 1], order[random.below(static_cast<std::int64_t>(i))]);
    testing::scenario other = reordered(s, order);
    const plan straight = make_plan(s.get());
    const plan permuted = make_plan(other.get());
    for (std::size_t i = 0; i < order.size(); ++i) {
      EXPECT_TRUE(
          std::ranges::equal(permuted.target.experts_of(i), straight.target.experts_of(order[i])))
          << what << " layer " << i;
      EXPECT_TRUE(
          std::ranges::equal(permuted.target.shares_of(i), straight.target.shares_of(order[i])))
          << what << " layer " << i;
      EXPECT_TRUE(permuted.layers[i].bound == straight.layers[order[i]].bound) << what;
    }
  });
}

}  // namespace
}  // namespace ballast
