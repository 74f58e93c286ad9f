#include "policies/flow_spread.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>
#include <string>

#include "tests/policies/scenario.hpp"

namespace ballast {
namespace {

using ints = std::vector<std::int32_t>;
using longs = std::vector<std::int64_t>;

bool always(std::span<const std::int32_t>) { return true; }
bool never(std::span<const std::int32_t>) { return false; }

/// Two nodes of two ranks. Experts 0 and 5 each have both of their replicas on one node, of which
/// one arrives; every rank carries 1000, and would if the two that arrive changed places.
class node_spreading : public ::testing::Test {
 protected:
  node_spreading() {
    rules_.hosts = 4;
    rules_.host_speeds = 4;
    state_.start(loads_, layout_, planned_, rules_);
  }

  void spread(std::int64_t limit, bool (*allows)(std::span<const std::int32_t>)) {
    node_spreader(cluster_).spread(state_, origin_, limit, allows);
  }
  ints slots() const { return {state_.experts().begin(), state_.experts().end()}; }

  slot_layout layout_ = slot_layout::uniform(4, 2);
  cluster_map cluster_ = testing::even_cluster(2, 2);
  longs loads_{1000, 500, 500, 500, 500, 1000};
  ints origin_{0, 1, no_expert, 2, no_expert, 3, 5, 4};
  ints planned_{0, 1, 0, 2, 5, 3, 5, 4};
  flow_rules rules_;
  flow_state state_;
};

TEST_F(node_spreading, exchanges_arrivals_where_that_brings_an_expert_to_another_node) {
  const std::int64_t fullest = state_.fullest();
  spread(fullest, always);
  EXPECT_EQ(slots(), (ints{0, 1, 5, 2, 0, 3, 5, 4}));
  EXPECT_LE(state_.fullest(), fullest);
}

TEST_F(node_spreading, moves_nothing_that_is_in_place) {
  origin_ = planned_;
  spread(state_.fullest(), always);
  EXPECT_EQ(slots(), planned_);
}

TEST_F(node_spreading, keeps_to_the_limit_and_to_what_is_allowed) {
  spread(state_.fullest() - 1, always);
  EXPECT_EQ(slots(), planned_);
  spread(state_.fullest(), never);
  EXPECT_EQ(slots(), planned_);
}

TEST_F(node_spreading, takes_no_expert_from_a_node_that_it_would_leave_for_nothing) {
  cluster_ = testing::even_cluster(1, 4);
  spread(state_.fullest(), always);
  EXPECT_EQ(slots(), planned_);
  cluster_ = testing::even_cluster(2, 2);
  loads_[5] = 0;
  origin_ = {0, 1, no_expert, 2, no_expert, 3, 5, 4};
  planned_ = {0, 1, 0, 2, 5, 3, no_expert, 4};  // expert 5 has one replica, so 0 gains what 5 keeps
  state_.start(loads_, layout_, planned_, rules_);
  spread(2 * state_.fullest(), always);
  EXPECT_EQ(slots(), (ints{0, 1, 5, 2, 0, 3, no_expert, 4}));
}

/// Of the pairs of expert and node, of four, that replicas could make, those that they do make.
double part_covered(const placement& of, const cluster_map& cluster) {
  double made = 0;
  double possible = 0;
  for (int layer = 0; layer < of.layers(); ++layer) {
    const auto slots = of.experts_of(layer);
    for (std::int32_t expert = 0; expert < of.experts(); ++expert) {
      std::set<std::int32_t> nodes;
      int replicas = 0;
      for (int slot = 0; slot < of.slots(); ++slot) {
        if (slots[slot] != expert) continue;
        nodes.insert(cluster.ranks[of.layout().rank_of(slot)].node);
        ++replicas;
      }
      if (replicas < 2) continue;
      made += static_cast<double>(nodes.size());
      possible += std::min(replicas, 4);
    }
  }
  return made / possible;
}

TEST(flow, brings_replicas_to_more_nodes_and_stays_as_even_for_no_more_moves) {
  testing::scenario s =
      testing::uniform_scenario(testing::log_normal_loads(3, 8, 256), 8, 256, 32, 9);
  s.request.policy = "flow";
  s.request.cold_start = true;
  const plan one_node = make_plan(s.get());  // where nothing is to be won
  const cluster_map nodes = testing::even_cluster(4, 8);
  s.cluster = nodes;
  const plan planned = make_plan(s.get());
  EXPECT_GT(part_covered(planned.target, nodes), part_covered(one_node.target, nodes) + 0.05);
  for (int layer = 0; layer < 8; ++layer) {
    EXPECT_LE(static_cast<double>(planned.layers[layer].max_after),
              1.0005 * static_cast<double>(one_node.layers[layer].max_after));
  }
  EXPECT_LE(planned.moves(), one_node.moves() + one_node.moves() / 50);
}

}  // namespace
}  // namespace ballast
