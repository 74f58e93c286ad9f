// The whole runtime over its settings: whatever is chosen, the live_model's promises hold after
// every step.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <random>

#include "tests/mpi/live_model.hpp"

namespace ballast {
namespace {

// Steps are slow where ranks share cores, several times slower under the sanitizers, and ten times
// more on one or two ranks, where leaks are looked for (tests/CMakeLists.txt).
#ifdef __SANITIZE_ADDRESS__
constexpr bool sanitized = true;
#else
constexpr bool sanitized = false;
#endif

// How many are tried where a test may take longer, or must be done sooner, than by default.
std::uint64_t from_environment(const char* name, std::uint64_t otherwise) {
  const char* given = std::getenv(name);
  return given == nullptr ? otherwise : std::max(std::strtoull(given, nullptr, 10), 1ull);
}

constexpr const char* way_names[] = {"auto", "vacate", "spare", "staged"};

// Plays until `epochs` epochs are closed; returns how many of them were committed.
int play_epochs(const live_options& options, int epochs) {
  live_model model(MPI_COMM_WORLD, options);
  for (int i = 0; i < epochs; ++i) {
    if (!model.finish_epoch()) return 0;
  }
  int committed = 0;
  for (const ballast_epoch& e : model.closed()) {
    EXPECT_NE(e.outcome, BALLAST_OUTCOME_DROPPED)
        << e.reason << ": " << model.expectation().expected().failure;
    committed += e.outcome == BALLAST_OUTCOME_COMMITTED;
  }
  return committed;
}

TEST(sweep, every_policy_way_lag_verification_and_pacing_commits_its_plan) {
  const int ranks = size_of(MPI_COMM_WORLD);
  // No factor 2 or 3: there are so many values of some settings, and only one would come up.
  const std::uint64_t every = from_environment("BALLAST_TEST_EVERY", sanitized && ranks <= 2  ? 31
                                                                     : sanitized || ranks > 4 ? 5
                                                                                              : 1);
  std::uint64_t seed = 0;
  for (int p = 0; ballast_policy_name(p) != nullptr; ++p) {
    const std::string policy = ballast_policy_name(p);
    for (const int way :
         {BALLAST_WAY_AUTO, BALLAST_WAY_VACATE, BALLAST_WAY_SPARE, BALLAST_WAY_STAGED}) {
      int tried = 0;
      int committed_this_way = 0;  // some loads are balanced as they are, but not all of them
      for (const int lag : {1, 2, 5}) {
        for (const int verify : {BALLAST_VERIFY_FULL, BALLAST_VERIFY_SAMPLE, BALLAST_VERIFY_OFF}) {
          for (const int paced : {0, 300}) {  // bytes: about an expert in a step
            ++seed;
            if (seed % every != 0) continue;
            ++tried;
            SCOPED_TRACE(policy + ", way " + way_names[way] + ", lag " + std::to_string(lag) +
                         ", verify " + std::to_string(verify) + (paced ? ", paced" : "") +
                         ", seed " + std::to_string(seed));
            live_options o = {.config = small_config(ranks)};
            o.config.policy = ballast_policy_name(p);
            o.config.way = way;
            o.config.spare_rows = way == BALLAST_WAY_SPARE ? 1 : 0;
            o.config.consensus_lag = lag;
            o.config.verify = verify;
            o.config.bytes_per_step = paced;
            o.load_seed = seed;
            committed_this_way += play_epochs(o, 2);
          }
        }
      }
      if (policy == "static") {
        EXPECT_EQ(committed_this_way, 0);
      } else if (policy != "random" && ranks > 1 && tried >= 3) {
        EXPECT_GT(committed_this_way, 0) << policy << ", way " << way_names[way];
      }
    }
  }
}

TEST(sweep, random_shapes_and_settings) {
  const int ranks = size_of(MPI_COMM_WORLD);
  const char* policies[] = {"random", "deepseek", "deepseek-hierarchical", "deepseek-global"};
  const std::uint64_t seeds = from_environment("BALLAST_TEST_SEEDS", sanitized && ranks <= 2 ? 7
                                                                     : sanitized             ? 20
                                                                                             : 60);
  for (std::uint64_t seed = 1; seed <= seeds; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    std::mt19937_64 random(seed);
    const auto draw = [&](int least, int most) {
      return least + static_cast<int>(random() % (most - least + 1));
    };
    live_options o = {.config = small_config(ranks)};
    o.config.layers = draw(1, 5);
    o.config.experts = draw(1, 40);
    o.config.slots_per_rank = (o.config.experts + ranks - 1) / ranks + draw(0, 3);
    o.config.spare_rows = draw(0, 2);
    o.config.policy = policies[draw(0, 3)];
    o.config.way = draw(0, 3);
    o.config.consensus_lag = draw(1, 6);
    o.config.interval = draw(1, 12);
    o.config.window = draw(0, 30);
    o.config.gain_min_permille = draw(0, 5);
    o.config.max_moves = draw(0, 3) == 0 ? draw(1, 6) : -1;
    o.config.staging_experts = draw(1, 4);
    o.config.receives_per_batch = draw(1, 6);
    o.config.bytes_per_step = draw(0, 1) * draw(100, 4000);
    o.config.planner_threads = draw(1, 3);
    o.config.seed = seed;
    o.ranks_per_node = draw(1, ranks);
    // One group divides over one node only.
    if (std::string(o.config.policy) == "deepseek-hierarchical") o.ranks_per_node = ranks;
    o.load_seed = seed;
    play_epochs(o, 3);
  }
}

TEST(sweep, ragged_numbers) {
  struct shape {
    int layers, experts, more_slots, spare_rows, groups;
  };
  const int ranks = size_of(MPI_COMM_WORLD);
  for (const shape s :
       {shape{1, 1, 0, 0, 1}, shape{1, 1, 1, 1, 1}, shape{2, 16, 0, 0, 4}, shape{5, 17, 0, 0, 1},
        shape{1, 8, 1, 0, 1}, shape{2, 31, 3, 2, 1}, shape{4, 24, 1, 0, 3}}) {
    for (const int way : {BALLAST_WAY_AUTO, BALLAST_WAY_STAGED}) {
      SCOPED_TRACE(std::to_string(s.layers) + " layers, " + std::to_string(s.experts) +
                   " experts, way " + way_names[way]);
      live_options o = {.config = small_config(ranks)};
      o.config.layers = s.layers;
      o.config.experts = s.experts;
      o.config.slots_per_rank = (s.experts + ranks - 1) / ranks + s.more_slots;
      o.config.spare_rows = s.spare_rows;
      o.config.groups = s.groups;
      o.config.policy = "deepseek-global";
      o.config.way = way;
      o.config.staging_experts = 1 + s.experts % 2;
      o.config.receives_per_batch = 1 + s.experts % 3;
      play_epochs(o, 3);
    }
  }
}

TEST(sweep, imitated_nodes_carry_an_expert_into_a_node_once) {
  const int ranks = size_of(MPI_COMM_WORLD);
  for (const int per_node : {1, 2, 4}) {
    if (per_node > ranks) continue;
    SCOPED_TRACE(std::to_string(per_node) + " ranks per node");
    live_options o = {.config = small_config(ranks)};
    o.config.slots_per_rank += 2;
    o.config.staging_experts = 3;
    o.ranks_per_node = per_node;
    play_epochs(o, 3);
    if (ranks % per_node != 0) continue;
    o.config.policy = "deepseek-hierarchical";
    o.config.groups = ranks / per_node;
    o.config.experts = 2 * o.config.groups;
    o.config.slots_per_rank = 3;
    play_epochs(o, 3);
  }
}

TEST(sweep, published_rules_to_the_letter) {
  const int ranks = size_of(MPI_COMM_WORLD);
  live_options o = {.config = small_config(ranks)};
  o.config.compatible = 1;
  play_epochs(o, 3);
}

TEST(sweep, limits_of_moves_and_bytes_are_kept) {
  const int ranks = size_of(MPI_COMM_WORLD);
  for (const int limit : {0, 1, 3}) {
    SCOPED_TRACE("limit " + std::to_string(limit));
    live_options o = {.config = small_config(ranks)};
    o.config.max_moves = limit;
    live_model model(MPI_COMM_WORLD, o);
    for (int i = 0; i < 3; ++i) model.finish_epoch();
    for (const ballast_epoch& e : model.closed()) EXPECT_LE(e.moves, limit * o.config.layers);

    o.config.max_moves = -1;
    o.config.max_bytes = 1000 * limit;
    live_model frugal(MPI_COMM_WORLD, o);
    for (int i = 0; i < 3; ++i) frugal.finish_epoch();
    for (const ballast_epoch& e : frugal.closed()) EXPECT_LE(e.bytes_received, o.config.max_bytes);
  }
}

TEST(sweep, planner_threads_do_not_change_the_plan) {
  live_options o = {.config = small_config(size_of(MPI_COMM_WORLD))};
  o.config.planner_threads = 1 + rank_of(MPI_COMM_WORLD) % 4;  // each rank as it likes
  o.config.layers = 7;
  play_epochs(o, 3);
}

}  // namespace
}  // namespace ballast
