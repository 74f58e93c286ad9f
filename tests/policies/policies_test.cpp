// What every policy promises, whatever the loads: swept over all of them by name.

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <string>

#include "policies/plan.hpp"
#include "tests/policies/scenario.hpp"

namespace ballast {
namespace {

using ints = std::vector<std::int32_t>;
using longs = std::vector<std::int64_t>;

enum class load_kind { zeros, equal, ties, one_hot, skewed, nearly_equal, largest };
constexpr int load_kinds = 7;

std::int64_t load_of(load_kind kind, testing::generator& random) {
  switch (kind) {
    case load_kind::zeros:
    case load_kind::one_hot:
      return 0;
    case load_kind::equal:
      return 17;
    case load_kind::ties:
      return random.below(3);
    case load_kind::skewed:
      return testing::log_normal_load(random);
    case load_kind::nearly_equal:
      return 1'000'000 + random.below(3);
    case load_kind::largest:
      return (std::int64_t{1} << 56) + random.below(std::int64_t{1} << 55);
  }
  return 0;
}

struct sweep_case {
  std::string what;
  testing::scenario scene;
  longs series;  // of `windows` windows
  int windows = 0;
};

sweep_case make_case(const char* policy, std::uint64_t seed) {
  testing::generator random(seed * 7919 + 1);
  const int layers = 2;
  const int ranks = 1 + static_cast<int>(random.below(11));
  const int experts = 1 + static_cast<int>(random.below(31));  // 1, 2, primes and others
  const int least = (experts + ranks - 1) / ranks;
  const int per_rank = least + static_cast<int>(random.below(4));
  const auto kind = static_cast<load_kind>(random.below(load_kinds));
  const bool ragged = random.below(3) == 0;
  ints slots(static_cast<std::size_t>(ranks), per_rank);
  if (ragged) {
    for (auto& count : slots) count += static_cast<std::int32_t>(random.below(3));
  }
  ints usable = slots;
  for (auto& count : usable) count = std::min(count, experts);
  const slot_layout layout = slot_layout::ragged(slots);
  placement current = initial_placement(layers, experts, layout, usable);
  longs loads(static_cast<std::size_t>(layers) * experts);
  const int windows = static_cast<int>(random.below(3)) * 3;
  longs series(loads.size() * windows);
  for (auto& load : loads) load = load_of(kind, random);
  for (auto& load : series) load = load_of(kind, random);
  if (kind == load_kind::one_hot) loads[random.below(experts)] = 1'000'003;
  sweep_case made{std::string(policy) + " seed " + std::to_string(seed) + ": " +
                      std::to_string(experts) + " experts, " + std::to_string(ranks) + " ranks x " +
                      std::to_string(per_rank) + (ragged ? " ragged" : "") + ", loads " +
                      std::to_string(static_cast<int>(kind)),
                  testing::scenario(loads, std::move(current), testing::even_cluster(1, ranks)),
                  std::move(series), windows};
  made.scene.request.policy = policy;
  made.scene.request.usable_slots = usable;
  return made;
}

/// Every expert hosted, none twice on a rank, only usable slots occupied, shares in order.
void expect_legal(const sweep_case& c, const plan& planned) {
  EXPECT_EQ(why_illegal(planned.target, false), "") << c.what;
  const slot_layout& layout = planned.target.layout();
  for (int layer = 0; layer < planned.target.layers(); ++layer) {
    const auto experts = planned.target.experts_of(layer);
    for (int rank = 0; rank < layout.ranks(); ++rank) {
      const auto held = experts.subspan(layout.first(rank), layout.count(rank));
      const auto occupied = static_cast<std::int32_t>(held.size()) -
                            static_cast<std::int32_t>(std::ranges::count(held, no_expert));
      EXPECT_LE(occupied, c.scene.request.usable_slots[rank]) << c.what << " rank " << rank;
    }
  }
}

bool changes_placement_for_nothing(const std::string& policy) { return policy == "random"; }

TEST(policies, plan_legally_and_never_for_the_worse_on_any_loads) {
  for (const char* policy : policy_names()) {
    if (std::string(policy) == "deepseek-hierarchical") continue;  // global here; has its own tests
    for (std::uint64_t seed = 1; seed <= 400; ++seed) {
      sweep_case c = make_case(policy, seed);
      const plan planned = make_plan(c.scene.get());
      expect_legal(c, planned);
      if (changes_placement_for_nothing(policy)) continue;
      for (const layer_outcome& outcome : planned.layers) {
        EXPECT_LE(outcome.max_after, outcome.max_before) << c.what;
        EXPECT_GE(outcome.max_after, outcome.bound) << c.what;
      }
    }
  }
}

TEST(policies, plan_the_same_with_any_number_of_threads_and_again) {
  for (const char* policy : policy_names()) {
    if (std::string(policy) == "deepseek-hierarchical") continue;
    for (std::uint64_t seed = 1; seed <= 60; ++seed) {
      sweep_case c = make_case(policy, seed);
      if (c.windows > 0) c.scene.request.series = c.series;
      const plan one = make_plan(c.scene.get());
      expect_legal(c, one);
      c.scene.request.threads = 3;
      EXPECT_EQ(make_plan(c.scene.get()).target, one.target) << c.what;
      EXPECT_EQ(make_plan(c.scene.get()).digest, one.digest) << c.what;
    }
  }
}

TEST(policies, plan_around_masked_ranks) {
  for (const char* policy : policy_names()) {
    if (std::string(policy) == "deepseek-hierarchical" || std::string(policy) == "random") continue;
    for (std::uint64_t seed = 1; seed <= 200; ++seed) {
      sweep_case c = make_case(policy, seed);
      ints& usable = c.scene.request.usable_slots;
      const int dead = static_cast<int>(seed % usable.size());
      const int left = std::accumulate(usable.begin(), usable.end(), 0) - usable[dead];
      if (left < c.scene.current.experts()) continue;
      c.scene.request.masked_ranks.assign(usable.size(), 0);
      c.scene.request.masked_ranks[dead] = 1;
      const plan planned = make_plan(c.scene.get());
      expect_legal(c, planned);
      const slot_layout& layout = planned.target.layout();
      for (int slot = layout.first(dead); slot < layout.first(dead + 1); ++slot) {
        EXPECT_EQ(planned.target.experts_of(0)[slot], no_expert) << c.what;
      }
    }
  }
}

}  // namespace
}  // namespace ballast
