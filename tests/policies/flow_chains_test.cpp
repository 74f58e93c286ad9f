#include "policies/flow_chains.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>

#include "policies/flow_repack.hpp"
#include "tests/policies/flow_layers.hpp"

namespace ballast {
namespace {

using ints = std::vector<std::int32_t>;
using longs = std::vector<std::int64_t>;

/// Three ranks of two: a swap with rank 1 or rank 2 alone leaves one of them too full.
TEST(flow_chains, finds_a_cycle_of_three_where_no_swap_helps) {
  const slot_layout layout = slot_layout::uniform(3, 2);
  const ints experts = {0, 1, 2, 3, 4, 5};
  const longs loads = {70, 40, 60, 36, 65, 29};  // 110, 96, 94; one level of 100 exists
  flow_state state;
  state.start(loads, layout, experts, {{}, 3});
  const speed_scale even;
  const ints usable = {2, 2, 2};
  const group_homes homes(6, {}, usable, even);
  const ints block_of = {0, 1, 2};
  const ints sources = {0, 1};
  chain_finder finder;
  chain_task task{block_of, 0, sources, {}};
  task.limit = std::int64_t{105} << state.unit_shift();
  const auto chain = finder.find(state, homes, task);
  ASSERT_FALSE(chain.empty());
  for (const assignment& next : chain) state.replace(next.slot, next.expert);
  state.settle();
  EXPECT_LE(state.fullest(), task.limit);
  task.limit = std::int64_t{99} << state.unit_shift();  // below the mean
  state.start(loads, layout, experts, {{}, 3});
  EXPECT_TRUE(finder.find(state, homes, task).empty());
}

TEST(flow_chains, random_chains_keep_every_expert_hosted_once_a_rank_and_the_limit) {
  int found = 0;
  for (std::uint64_t seed = 1; seed <= 3000; ++seed) {
    testing::generator random(seed);
    const testing::layer layer = testing::random_layer(random, 8, 24);
    flow_state state;
    state.start(layer.loads, layer.layout, layer.experts, {{}, layer.layout.ranks()});
    ints usable;
    ints block_of;
    ints open;
    int top = 0;
    for (int rank = 0; rank < layer.layout.ranks(); ++rank) {
      usable.push_back(layer.layout.count(rank));
      block_of.push_back(rank);
      const auto held =
          std::span(layer.experts).subspan(layer.layout.first(rank), layer.layout.count(rank));
      if (std::ranges::count(held, no_expert) > 0) open.push_back(rank);
      if (state.load(rank) > state.load(top)) top = rank;
    }
    ints sources;
    for (int slot = layer.layout.first(top); slot < layer.layout.first(top + 1); ++slot) {
      if (state.expert(slot) != no_expert && state.flow(slot) > 0) sources.push_back(slot);
    }
    const speed_scale even;
    const group_homes homes(static_cast<int>(layer.loads.size()), {}, usable, even);
    chain_task task{block_of, top, sources, open};
    task.limit = (state.load(top) + state.mean()) / 2;
    chain_finder finder;
    const auto chain = finder.find(state, homes, task);
    const std::string what = "seed " + std::to_string(seed);
    EXPECT_LE(chain.size(), 5u) << what;
    if (chain.empty()) continue;
    ++found;
    for (const assignment& next : chain) state.replace(next.slot, next.expert);
    state.settle();
    for (std::size_t expert = 0; expert < layer.loads.size(); ++expert) {
      const auto id = static_cast<std::int32_t>(expert);
      EXPECT_GE(state.replicas(id), 1) << what;
      ints hosts;
      for (std::int32_t slot = state.first_slot(id); slot >= 0; slot = state.next_slot(slot)) {
        hosts.push_back(layer.layout.rank_of(slot));
      }
      std::sort(hosts.begin(), hosts.end());
      EXPECT_EQ(std::adjacent_find(hosts.begin(), hosts.end()), hosts.end()) << what;
    }
  }
  EXPECT_GT(found, 500);
}

TEST(flow_repack, what_it_finds_is_legal_and_keeps_the_level_with_equal_parts) {
  int found = 0;
  for (std::uint64_t seed = 1; seed <= 3000; ++seed) {
    testing::generator random(seed);
    const testing::layer layer = testing::random_layer(random, 8, 24);
    const int experts = static_cast<int>(layer.loads.size());
    flow_state state;
    state.start(layer.loads, layer.layout, layer.experts, {{}, layer.layout.ranks()});
    ints usable;
    for (int rank = 0; rank < layer.layout.ranks(); ++rank) {
      usable.push_back(layer.layout.count(rank));
    }
    const speed_scale even;
    const group_homes homes(experts, {}, usable, even);
    flow_repacker repacker;
    const std::int64_t level = state.mean() + state.mean() * random.below(5) / 4;
    if (!repacker.repack({state, layer.experts, layer.experts, usable, homes}, level)) continue;
    ++found;
    const auto slots = repacker.slots();
    const std::string what = "seed " + std::to_string(seed);
    std::vector<std::int64_t> counts(layer.loads.size(), 0);
    for (const std::int32_t expert : slots) {
      if (expert != no_expert) ++counts[expert];
    }
    EXPECT_EQ(std::ranges::count(counts, 0), 0) << what;
    for (int rank = 0; rank < layer.layout.ranks(); ++rank) {
      ints held(slots.begin() + layer.layout.first(rank),
                slots.begin() + layer.layout.first(rank + 1));
      std::erase(held, no_expert);
      std::sort(held.begin(), held.end());
      EXPECT_EQ(std::adjacent_find(held.begin(), held.end()), held.end()) << what;
      std::int64_t load = 0;
      for (const std::int32_t expert : held) load += state.weight(expert) / counts[expert];
      EXPECT_LE(load, level) << what << " rank " << rank;
    }
  }
  EXPECT_GT(found, 500);
}

}  // namespace
}  // namespace ballast
