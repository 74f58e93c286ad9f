// What a plan of several layers may spend in all: moves, and bytes for each class of link.

#include <gtest/gtest.h>

#include <array>
#include <string>

#include "policies/limits.hpp"
#include "tests/policies/scenario.hpp"

namespace ballast {
namespace {

using testing::scenario;

/// Layers that differ in how much they need: 24 experts on 2 nodes of 4 ranks with 4 slots.
scenario uneven_layers(std::uint64_t seed, const char* policy) {
  std::vector<std::int64_t> loads = testing::log_normal_loads(seed, 6, 24);
  for (std::size_t i = 0; i < 48; ++i) loads[i] = 1000 + loads[i] / 10;  // two are nearly even
  scenario s = testing::uniform_scenario(std::move(loads), 6, 24, 8, 4);
  s.cluster = testing::even_cluster(2, 4);
  s.request.policy = policy;
  s.request.expert_bytes = 100;
  return s;
}

TEST(budgets, moves_of_all_layers_are_never_exceeded_and_buy_more_than_equal_parts) {
  double divided = 0;
  double equal = 0;
  for (std::uint64_t seed = 1; seed <= 60; ++seed) {
    for (const char* policy : {"flow", "deepseek-global"}) {
      scenario s = uneven_layers(seed, policy);
      for (const std::int64_t total : {0, 1, 5, 12, 30, 1000}) {
        s.request.limits.max_moves_total = total;
        const plan planned = make_plan(s.get());
        const std::string what = policy + std::string(" seed ") + std::to_string(seed);
        EXPECT_LE(planned.moves(), total) << what;
        for (const layer_outcome& layer : planned.layers) {
          EXPECT_TRUE(layer.max_after <= layer.max_before) << what;
        }
        if (total == 12 && s.request.policy == "flow") {
          divided += planned.balance_after();
          s.request.limits = {};
          s.request.limits.max_moves_per_layer = 2;
          equal += make_plan(s.get()).balance_after();
          s.request.limits = {};
        }
      }
    }
  }
  EXPECT_GT(divided, equal + 0.6);  // a hundredth on average
}

TEST(budgets, bytes_over_links_are_never_exceeded_under_any_policy) {
  for (std::uint64_t seed = 1; seed <= 100; ++seed) {
    for (const char* policy : {"flow", "deepseek-global"}) {
      scenario s = uneven_layers(seed, policy);
      testing::generator random(seed);
      auto& most = s.request.limits.max_bytes_per_link;
      most[static_cast<int>(link_class::remote)] = 100 * random.below(8) + 99;
      most[static_cast<int>(link_class::island)] = 100 * random.below(40);
      if (seed % 2 == 0) s.request.limits.max_bytes_per_rank = 300;
      if (seed % 3 == 0) s.request.limits.max_moves_total = 20;
      const plan planned = make_plan(s.get());
      std::vector<std::int64_t> spent(8 + link_class_count, 0);
      for (int layer = 0; layer < 6; ++layer) {
        add_spent(s.get(), s.current.experts_of(layer), planned.target.experts_of(layer), spent);
      }
      const std::string what = policy + std::string(" seed ") + std::to_string(seed);
      for (int link = 0; link < link_class_count; ++link) {
        if (most[link] >= 0) {
          EXPECT_LE(spent[8 + link] * 100, most[link]) << what << " link " << link;
        }
      }
      for (int rank = 0; rank < 8 && seed % 2 == 0; ++rank) EXPECT_LE(spent[rank], 3) << what;
      if (seed % 3 == 0) {
        EXPECT_LE(planned.moves(), 20) << what;
      }
    }
  }
}

TEST(budgets, without_remote_bytes_nodes_still_even_out_inside) {
  scenario s = uneven_layers(7, "flow");
  s.request.limits.max_bytes_per_link[static_cast<int>(link_class::remote)] = 0;
  const plan planned = make_plan(s.get());
  EXPECT_GT(planned.moves(), 0);
  EXPECT_GT(planned.balance_after(), planned.balance_before());
}

TEST(budgets, are_the_same_for_any_thread_count) {
  scenario s = uneven_layers(3, "flow");
  s.request.limits.max_moves_total = 17;
  s.request.limits.max_bytes_per_link[static_cast<int>(link_class::remote)] = 900;
  const plan alone = make_plan(s.get());
  for (const int threads : {2, 3, 7}) {
    s.request.threads = threads;
    EXPECT_EQ(make_plan(s.get()).digest, alone.digest);
  }
}

TEST(cold_start, is_at_least_as_even_as_any_plan_that_counts_moves) {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    scenario s = uneven_layers(seed, "flow");
    for (const bool equal : {false, true}) {
      s.request.equal_shares = equal;
      s.request.cold_start = false;
      const plan counted = make_plan(s.get());
      s.request.cold_start = true;
      const plan free = make_plan(s.get());
      for (int layer = 0; layer < 6; ++layer) {
        EXPECT_LE(static_cast<double>(free.layers[layer].max_after),
                  static_cast<double>(counted.layers[layer].max_after) * 1.0001)
            << seed;
      }
    }
  }
}

}  // namespace
}  // namespace ballast
