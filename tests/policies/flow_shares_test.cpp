#include "policies/flow_shares.hpp"

#include <gtest/gtest.h>

#include <string>

#include "policies/balance.hpp"
#include "policies/plan.hpp"
#include "tests/policies/flow_layers.hpp"

namespace ballast {
namespace {

TEST(share_solver, fullest_rank_is_the_smallest_possible) {
  for (std::uint64_t seed = 1; seed <= 2000; ++seed) {
    testing::generator random(seed);
    const testing::layer layer = testing::random_layer(random, 9, 24);
    flow_state state;
    state.start(layer.loads, layer.layout, layer.experts, {{}, layer.layout.ranks()});
    share_solver solver;
    solver.minimise_fullest(state);
    const testing::ratio best = testing::smallest_maximum(layer);
    const std::int64_t unit = std::int64_t{1} << state.unit_shift();
    EXPECT_EQ(state.fullest(), (best.load * unit + best.ranks - 1) / best.ranks) << "seed " << seed;
  }
}

TEST(share_solver, shares_sum_to_one_and_rounding_costs_next_to_nothing) {
  for (std::uint64_t seed = 1; seed <= 1000; ++seed) {
    testing::generator random(seed);
    const testing::layer layer = testing::random_layer(random, 12, 40);
    flow_state state;
    state.start(layer.loads, layer.layout, layer.experts, {{}, layer.layout.ranks()});
    share_solver solver;
    solver.minimise_fullest(state);
    std::vector<std::int32_t> shares(layer.experts.size());
    solver.round(state, layer.loads, shares);
    std::vector<std::int64_t> sums(layer.loads.size(), 0);
    scaled_load grain = 0;  // one unit of every expert's shares
    for (std::size_t slot = 0; slot < shares.size(); ++slot) {
      if (layer.experts[slot] != no_expert) sums[layer.experts[slot]] += shares[slot];
      EXPECT_GE(shares[slot], 0) << "seed " << seed;
    }
    for (std::size_t expert = 0; expert < sums.size(); ++expert) {
      EXPECT_EQ(sums[expert], share_one) << "seed " << seed << " expert " << expert;
      if (state.replicas(static_cast<std::int32_t>(expert)) > 1) grain += layer.loads[expert];
    }
    const scaled_load fullest = fullest_rank_load(layer.loads, layer.experts, shares, layer.layout);
    EXPECT_TRUE(fullest >= state.fullest()) << "seed " << seed;
    EXPECT_TRUE(fullest <= state.fullest() + grain) << "seed " << seed;
  }
}

}  // namespace
}  // namespace ballast
