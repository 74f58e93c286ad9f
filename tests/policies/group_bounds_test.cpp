// The bound of layers whose groups are kept on nodes, against the best of all dealings and all
// placements, and against what planners do.
#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <string>
#include <vector>

#include "policies/balance.hpp"
#include "tests/policies/optimum.hpp"
#include "tests/policies/scenario.hpp"

namespace ballast {
namespace {

using testing::fraction;
using testing::scenario;
using testing::small_layer;
using longs = std::vector<std::int64_t>;
using ints = std::vector<std::int32_t>;

double tokens(scaled_load load) { return static_cast<double>(load) / share_one; }

/// Nodes of equal ranks, loads by expert.
struct grouped_layer {
  longs loads;
  int groups = 2;
  int nodes = 2;
  int ranks_per_node = 2;
  int slots_per_rank = 2;

  grouped_hosts hosts(bool equal) const {
    const bound_shape shape{ranks_per_node, slots_per_rank, false};
    grouped_hosts made{groups, nodes, {ranks_per_node, ranks_per_node * slots_per_rank, {}}, {}};
    if (equal) made.equal = shape;
    return made;
  }
};

/// The least, over all dealings, of the highest node's optimum.
template <typename Optimum>
double best_dealing(const grouped_layer& layer, const Optimum& optimum) {
  ints node_of(static_cast<std::size_t>(layer.groups));
  for (int group = 0; group < layer.groups; ++group)
    node_of[group] = group / (layer.groups / layer.nodes);
  const std::size_t members = layer.loads.size() / node_of.size();
  double best = 1e300;
  do {
    double highest = 0;
    for (int node = 0; node < layer.nodes; ++node) {
      small_layer own{{}, layer.ranks_per_node, layer.slots_per_rank};
      for (std::size_t expert = 0; expert < layer.loads.size(); ++expert) {
        if (node_of[expert / members] == node) own.loads.push_back(layer.loads[expert]);
      }
      highest = std::max(highest, optimum(own).value());
    }
    best = std::min(best, highest);
  } while (std::next_permutation(node_of.begin(), node_of.end()));
  return best;
}

grouped_layer random_grouped(std::uint64_t seed) {
  testing::generator random(seed);
  grouped_layer layer;
  layer.nodes = 2 + static_cast<int>(random.below(2));
  const int per_node = 1 + static_cast<int>(random.below(layer.nodes == 2 ? 3 : 2));
  layer.groups = layer.nodes * per_node;
  const int members = 1 + static_cast<int>(random.below(per_node == 1 ? 4 : 2));
  layer.ranks_per_node = 1 + static_cast<int>(random.below(3));
  const int experts_of_node = per_node * members;
  layer.slots_per_rank = (experts_of_node + layer.ranks_per_node - 1) / layer.ranks_per_node +
                         static_cast<int>(random.below(2));
  layer.loads.resize(static_cast<std::size_t>(layer.groups) * members);
  const std::int64_t kind = random.below(4);
  for (auto& load : layer.loads) {
    load = kind == 0   ? 1000 * random.below(4)
           : kind == 1 ? 1 + random.below(1000)
                       : testing::log_normal_load(random);
  }
  return layer;
}

TEST(bound_with_groups, is_never_above_the_best_of_all_dealings_and_placements) {
  int exact = 0;
  int exact_equal = 0;
  int above_global = 0;
  constexpr int cases = 400;
  for (std::uint64_t seed = 1; seed <= cases; ++seed) {
    const grouped_layer layer = random_grouped(seed);
    const std::string what = "seed " + std::to_string(seed);
    const double free = best_dealing(layer, testing::free_share_optimum);
    const double equal = best_dealing(layer, testing::equal_share_optimum);
    const double bound = tokens(bound_with_groups(layer.loads, layer.hosts(false)));
    const double equal_bound = tokens(bound_with_groups(layer.loads, layer.hosts(true)));
    const int ranks = layer.nodes * layer.ranks_per_node;
    const double global = tokens(bound_with_free_shares(
        layer.loads, {ranks, std::int64_t{ranks} * layer.slots_per_rank, {}}));
    // Bounds are rounded up to what shares in 65536ths attain.
    EXPECT_LE(bound, free + 1.0 / 65536) << what;
    EXPECT_LE(equal_bound, equal + 1e-9 + equal * layer.ranks_per_node / 65536) << what;
    EXPECT_LE(bound, equal_bound) << what;
    exact += bound >= free * 0.9999 ? 1 : 0;
    exact_equal += equal_bound >= equal * 0.9998 ? 1 : 0;
    above_global += bound > global * 1.01 ? 1 : 0;
  }
  EXPECT_GT(exact, cases * 3 / 4);
  EXPECT_GT(exact_equal, cases / 2);
  EXPECT_GT(above_global, cases / 3) << "knows of groups";
}

/// More groups than any search gets through: 3 heavy ones for 2 nodes, and the lightest beside
/// them.
TEST(bound_with_groups, counts_where_groups_are_too_many_to_look_through) {
  grouped_layer layer;
  layer.groups = 80;
  layer.nodes = 2;
  layer.ranks_per_node = 4;
  layer.slots_per_rank = 10;
  layer.loads.assign(80, 1);
  layer.loads[3] = layer.loads[50] = layer.loads[79] = 100;
  EXPECT_EQ(tokens(bound_with_groups(layer.loads, layer.hosts(false))), 100)
      << "no slot is left to split a hot one";
  layer.slots_per_rank = 11;
  EXPECT_EQ(tokens(bound_with_groups(layer.loads, layer.hosts(false))), (100 + 100 + 38) / 4.0);
}

TEST(bound_with_groups, takes_unlike_nodes_for_the_best_of_them) {
  grouped_layer layer;
  layer.loads = {80, 80, 40, 40};
  grouped_hosts hosts = layer.hosts(false);
  EXPECT_EQ(tokens(bound_with_groups(layer.loads, hosts)), 80);
  const ints speeds = {3, 1, 2, 2};
  const speed_scale scale{speeds, 8, 4};
  hosts.node.speeds = {3, 2};
  EXPECT_NEAR(tokens(bound_with_groups(layer.loads, hosts, scale)), 160.0 * 8 / 4 / 5, 1e-3);
}

/// Whatever planners make of layers with groups, from placements that have them at home or not,
/// with limits and masked ranks, none is below its bound.
TEST(bound_with_groups, no_plan_is_below_it) {
  int reached = 0;
  int plans = 0;
  for (std::uint64_t seed = 1; seed <= 300; ++seed) {
    for (const char* policy : {"flow", "deepseek", "deepseek-vec"}) {
      testing::generator random(seed);
      const int nodes = 2 + static_cast<int>(random.below(3));
      const int ranks = nodes * (1 + static_cast<int>(random.below(4)));
      const int groups = nodes * (1 + static_cast<int>(random.below(3)));
      const int experts = groups * (1 + static_cast<int>(random.below(6)));
      const int slots = (experts + ranks - 1) / ranks + 1 + static_cast<int>(random.below(2));
      scenario s = testing::uniform_scenario(testing::log_normal_loads(seed, 2, experts), 2,
                                             experts, ranks, slots);
      s.cluster = testing::even_cluster(nodes, ranks / nodes);
      s.request.policy = policy;
      s.request.groups = groups;
      s.request.equal_shares = policy == std::string("flow") && seed % 4 == 0;
      if (seed % 3 == 0) s.current = make_plan(s.get()).target;
      s.loads = testing::log_normal_loads(seed + 1000, 2, experts);
      if (seed % 5 == 0) s.request.limits.max_moves_per_layer = random.below(20);
      if (seed % 7 == 0) s.request.masked_ranks.assign(static_cast<std::size_t>(ranks), 0);
      if (seed % 7 == 0) s.request.masked_ranks[random.below(ranks)] = 1;
      if (!why_unplannable(s.get()).empty()) continue;
      const plan planned = make_plan(s.get());
      for (const layer_outcome& layer : planned.layers) {
        EXPECT_TRUE(layer.bound <= layer.max_after)
            << policy << " seed " << seed << ": " << tokens(layer.bound) << " > "
            << tokens(layer.max_after);
        reached += tokens(layer.bound) >= tokens(layer.max_after) * 0.99 ? 1 : 0;
        ++plans;
      }
    }
  }
  EXPECT_GT(plans, 1200);
  EXPECT_GT(reached, plans / 4);
}

}  // namespace
}  // namespace ballast
