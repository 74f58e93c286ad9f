#include "policies/flow_state.hpp"

#include <gtest/gtest.h>

#include <string>

#include "tests/policies/flow_layers.hpp"

namespace ballast {
namespace {

/// Loads of ranks are the sums of flows, flows of an expert sum to its weight, none is negative,
/// and the score is what it says it is.
void expect_consistent(const flow_state& state, const std::string& what) {
  std::vector<std::int64_t> loads(static_cast<std::size_t>(state.ranks()), 0);
  std::vector<std::int64_t> weights(static_cast<std::size_t>(state.experts_count()), 0);
  std::vector<std::int32_t> counts(weights.size(), 0);
  for (std::int32_t slot = 0; slot < state.slots(); ++slot) {
    if (state.expert(slot) == no_expert) {
      EXPECT_EQ(state.flow(slot), 0) << what;
      continue;
    }
    EXPECT_GE(state.flow(slot), 0) << what << " slot " << slot;
    EXPECT_TRUE(state.carries(slot) || state.flow(slot) == 0 ||
                state.replicas(state.expert(slot)) == 1)
        << what << " slot " << slot;
    loads[state.layout().rank_of(slot)] += state.flow(slot);
    weights[state.expert(slot)] += state.flow(slot);
    ++counts[state.expert(slot)];
  }
  flow_state::score_type score = 0;
  for (int rank = 0; rank < state.ranks(); ++rank) {
    EXPECT_EQ(state.load(rank), loads[rank]) << what << " rank " << rank;
    const std::int64_t excess =
        std::max<std::int64_t>(loads[rank] - state.mean(), 0) >> state.score_shift();
    score += static_cast<flow_state::score_type>(excess) * excess;
  }
  EXPECT_TRUE(score == state.score()) << what;
  for (std::size_t expert = 0; expert < weights.size(); ++expert) {
    EXPECT_EQ(weights[expert], state.weight(static_cast<std::int32_t>(expert)))
        << what << " expert " << expert;
    EXPECT_EQ(counts[expert], state.replicas(static_cast<std::int32_t>(expert)))
        << what << " expert " << expert;
  }
}

/// No replica takes load on a rank clearly fuller than another rank that hosts its expert.
void expect_even(const flow_state& state, const std::string& what) {
  for (std::int32_t slot = 0; slot < state.slots(); ++slot) {
    const std::int32_t expert = state.expert(slot);
    if (expert == no_expert || state.flow(slot) == 0) continue;
    for (std::int32_t other = state.first_slot(expert); other >= 0;
         other = state.next_slot(other)) {
      const std::int64_t gap =
          state.load(state.layout().rank_of(slot)) - state.load(state.layout().rank_of(other));
      EXPECT_LE(gap, (state.mean() >> 13) + 3 * state.ranks())
          << what << " slots " << slot << ", " << other;
    }
  }
}

TEST(flow_state, start_makes_the_split_even) {
  for (std::uint64_t seed = 1; seed <= 3000; ++seed) {
    testing::generator random(seed);
    const testing::layer layer = testing::random_layer(random, 24, 60);
    flow_state state;
    state.start(layer.loads, layer.layout, layer.experts, {{}, layer.layout.ranks()});
    const std::string what = "seed " + std::to_string(seed);
    expect_consistent(state, what);
    expect_even(state, what);
  }
}

/// A replica to overwrite and an expert to put there, or two slots to swap.
bool change_somehow(flow_state& state, testing::generator& random) {
  const auto slot = static_cast<std::int32_t>(random.below(state.slots()));
  const auto other = static_cast<std::int32_t>(random.below(state.slots()));
  const std::int32_t here = state.expert(slot);
  const std::int32_t there = state.expert(other);
  const int rank = state.layout().rank_of(slot);
  const int other_rank = state.layout().rank_of(other);
  if (there == no_expert || state.holds(rank, there)) return false;
  if (here == no_expert || (state.replicas(here) > 1 && random.below(2) == 0)) {
    state.replace(slot, there);
    return true;
  }
  if (state.holds(other_rank, here)) return false;
  state.swap(slot, other);
  return true;
}

TEST(flow_state, changes_keep_it_consistent_and_even) {
  for (std::uint64_t seed = 1; seed <= 400; ++seed) {
    testing::generator random(seed);
    const testing::layer layer = testing::random_layer(random, 24, 60);
    flow_state state;
    state.start(layer.loads, layer.layout, layer.experts, {{}, layer.layout.ranks()});
    for (int change = 0; change < 30; ++change) {
      if (!change_somehow(state, random)) continue;
      state.settle();
      const std::string what = "seed " + std::to_string(seed) + " change " + std::to_string(change);
      expect_consistent(state, what);
      expect_even(state, what);
    }
  }
}

TEST(flow_state, roll_back_undoes_a_trial) {
  for (std::uint64_t seed = 1; seed <= 400; ++seed) {
    testing::generator random(seed);
    const testing::layer layer = testing::random_layer(random, 16, 40);
    flow_state state;
    state.start(layer.loads, layer.layout, layer.experts, {{}, layer.layout.ranks()});
    for (int trial = 0; trial < 20; ++trial) {
      const std::vector<std::int32_t> experts(state.experts().begin(), state.experts().end());
      std::vector<std::int64_t> flows;
      for (std::int32_t slot = 0; slot < state.slots(); ++slot) flows.push_back(state.flow(slot));
      state.begin_trial();
      for (int change = 0; change < 3; ++change) {
        if (change_somehow(state, random)) state.settle();
      }
      state.roll_back();
      const std::string what = "seed " + std::to_string(seed) + " trial " + std::to_string(trial);
      EXPECT_TRUE(std::equal(experts.begin(), experts.end(), state.experts().begin())) << what;
      for (std::int32_t slot = 0; slot < state.slots(); ++slot) {
        EXPECT_EQ(state.flow(slot), flows[slot]) << what << " slot " << slot;
      }
      expect_consistent(state, what);
      if (change_somehow(state, random)) state.settle();
    }
  }
}

/// Blocks are the ranks connected by replicas that carry, and know their levels and lowest rank.
void expect_blocks(const flow_state& state, const std::string& what) {
  std::vector<std::int32_t> lowest;  // rank connected with each, as far as is known
  for (int rank = 0; rank < state.ranks(); ++rank) lowest.push_back(rank);
  for (bool changed = true; changed;) {
    changed = false;
    for (std::int32_t slot = 0; slot < state.slots(); ++slot) {
      if (!state.carries(slot)) continue;
      for (std::int32_t other = state.first_slot(state.expert(slot)); other >= 0;
           other = state.next_slot(other)) {
        if (!state.carries(other)) continue;
        std::int32_t& here = lowest[state.layout().rank_of(slot)];
        const std::int32_t there = lowest[state.layout().rank_of(other)];
        changed = changed || there < here;
        here = std::min(here, there);
      }
    }
  }
  std::vector<flow_state::rank_block> expected(lowest.size());
  for (int rank = 0; rank < state.ranks(); ++rank) {
    flow_state::rank_block& block = expected[lowest[rank]];
    block.excess += state.level(rank) - state.mean();
    ++block.ranks;
    const flow_state::rank_block& found = state.blocks()[state.block_of()[rank]];
    EXPECT_EQ(found.first, lowest[rank]) << what << " rank " << rank;
  }
  for (int rank = 0; rank < state.ranks(); ++rank) {
    if (lowest[rank] != rank) continue;
    const flow_state::rank_block& found = state.blocks()[state.block_of()[rank]];
    EXPECT_EQ(found.excess, expected[rank].excess) << what << " rank " << rank;
    EXPECT_EQ(found.ranks, expected[rank].ranks) << what << " rank " << rank;
    EXPECT_EQ(found.speeds, expected[rank].ranks) << what << " rank " << rank;
  }
}

TEST(flow_state, blocks_stay_known_whatever_changes) {
  for (const bool equal_shares : {false, true}) {
    for (std::uint64_t seed = 1; seed <= 400; ++seed) {
      testing::generator random(seed);
      const testing::layer layer = testing::random_layer(random, 24, 60);
      flow_state state;
      state.start(layer.loads, layer.layout, layer.experts,
                  {{}, layer.layout.ranks(), 1, equal_shares});
      flow_state copy = state;
      for (int change = 0; change < 30; ++change) {
        const std::int64_t kind = random.below(12);
        if (kind < 3) state.begin_trial();
        if (change_somehow(state, random)) state.settle();
        if (kind < 2) state.roll_back();
        if (kind == 2) state.keep();
        if (kind == 3) copy = state;
        if (kind == 4) state = copy;
        if (random.below(3) > 0) continue;
        state.label_blocks();
        expect_blocks(state, "seed " + std::to_string(seed) + " change " + std::to_string(change));
      }
    }
  }
}

TEST(flow_state, largest_loads_do_not_overflow) {
  const std::vector<std::int64_t> loads = {(std::int64_t{1} << 62) - 5, 3, 2, 0};
  const slot_layout layout = slot_layout::uniform(3, 2);
  const std::vector<std::int32_t> experts = {0, 1, 0, 2, 0, 3};
  flow_state state;
  state.start(loads, layout, experts, {{}, layout.ranks()});
  expect_consistent(state, "largest");
  expect_even(state, "largest");
}

/// Experts 0 and 1 share ranks 0 and 1 (200 each), rank 2 has expert 2 (50), rank 3 has expert 3
/// (210).
TEST(flow_state, an_expert_would_use_ranks_that_are_emptier_than_all_its_hosts) {
  const std::vector<std::int64_t> loads{300, 100, 50, 210};
  const slot_layout layout = slot_layout::uniform(4, 2);
  const std::vector<std::int32_t> slots{0, 1, 0, no_expert, 2, no_expert, 3, no_expert};
  flow_rules rules;
  rules.hosts = 4;
  rules.host_speeds = 4;
  flow_state state;
  state.start(loads, layout, slots, rules);
  EXPECT_TRUE(state.would_use(2, 0));
  EXPECT_TRUE(state.would_use(2, 1));
  EXPECT_FALSE(state.would_use(3, 0));
  EXPECT_FALSE(state.would_use(1, 1)) << "as full as its own";
  EXPECT_TRUE(state.would_use(0, 3));
  EXPECT_FALSE(state.would_use(0, 0)) << "it is there";
}

}  // namespace
}  // namespace ballast
