#pragma once
// A request of ballast_plan_create with random loads, and the plan that it asks for.

#include <gtest/gtest.h>

#include <cstdint>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "runtime/ballast.h"

namespace ballast::testing {

struct plan_deleter {
  void operator()(ballast_plan* plan) const { ballast_plan_destroy(plan); }
};
using plan_handle = std::unique_ptr<ballast_plan, plan_deleter>;
struct topology_deleter {
  void operator()(ballast_topology* topology) const { ballast_topology_destroy(topology); }
};
using topology_handle = std::unique_ptr<ballast_topology, topology_deleter>;

inline topology_handle nodes_of(int ranks, int ranks_per_node) {
  ballast_topology* made = nullptr;
  EXPECT_EQ(ballast_topology_imitate(ranks, ranks_per_node, nullptr, &made), BALLAST_OK)
      << ballast_last_error();
  return topology_handle(made);
}

// A request together with what it points to.
struct question {
  ballast_plan_request request;
  std::vector<std::int64_t> loads;

  question(int layers, int experts, int ranks, int slots, std::uint64_t seed = 1)
      : loads(static_cast<std::size_t>(layers) * experts) {
    std::mt19937_64 random(seed);
    for (std::int64_t& load : loads)
      load = static_cast<std::int64_t>(random() % 1000) * (random() % 6 == 0 ? 20 : 1);
    ballast_plan_request_init(&request);
    request.layers = layers;
    request.experts = experts;
    request.ranks = ranks;
    request.slots_per_rank = slots;
    request.loads = loads.data();
  }

  plan_handle make() const {
    ballast_plan* made = nullptr;
    EXPECT_EQ(ballast_plan_create(&request, &made), BALLAST_OK) << ballast_last_error();
    return plan_handle(made);
  }
  std::string refusal() const {
    auto* const marker = reinterpret_cast<ballast_plan*>(const_cast<question*>(this));
    ballast_plan* plan = marker;
    const ballast_status status = ballast_plan_create(&request, &plan);
    if (status == BALLAST_OK) {
      ballast_plan_destroy(plan);
      return "accepted";
    }
    EXPECT_EQ(status, BALLAST_ERROR_INVALID_ARGUMENT);
    EXPECT_EQ(plan, marker) << "written on an error";
    return ballast_last_error();
  }
  std::size_t slots() const {
    return static_cast<std::size_t>(request.ranks) * request.slots_per_rank;
  }
};

}  // namespace ballast::testing
