// Rehearsed faults on one rank: every rank sees the same named end of the epoch, the old placement
// serves meanwhile, and the next epoch is as good as any.
#include <gtest/gtest.h>

#include <algorithm>
#include <string>

#include "tests/mpi/live_model.hpp"

namespace ballast {
namespace {

int ranks() { return size_of(MPI_COMM_WORLD); }

live_options with_drill(const std::string& drill) {
  live_options o = {.config = small_config(ranks())};
  o.config.drill = drill.c_str();  // read by ballast_create only, while the caller's string lives
  return o;
}

bool has(const ballast_epoch& e, const std::string& part) {
  return std::string(e.reason).find(part) != std::string::npos;
}

// Moves that arrive at `rank` from another one.
int arrivals_at(live_model& model, int rank) {
  int arrivals = 0;
  for (const scheduled_move& move : model.expectation().expected().steps.moves) {
    arrivals += move.target_rank == rank && move.source_rank != rank;
  }
  return arrivals;
}

TEST(drill, plans_that_differ_drop_the_epoch_everywhere) {
  if (ranks() == 1) GTEST_SKIP() << "one rank agrees with itself";
  for (int odd = 0; odd < ranks(); ++odd) {
    SCOPED_TRACE("rank " + std::to_string(odd));
    const std::string drill = "digest:" + std::to_string(odd) + ":0";
    live_model model(MPI_COMM_WORLD, with_drill(drill));
    const std::uint64_t before = model.tables_digest();
    model.finish_epoch();
    EXPECT_EQ(model.closed()[0].outcome, BALLAST_OUTCOME_DROPPED);
    EXPECT_TRUE(has(model.closed()[0], "plans differ: digests ")) << model.closed()[0].reason;
    EXPECT_EQ(model.closed()[0].moves, 0);
    EXPECT_EQ(model.tables_digest(), before);
    EXPECT_EQ(model.counters().plans_diverged, 1);
    EXPECT_EQ(model.counters().epochs_dropped, 1);
    EXPECT_EQ(model.counters().balancing, 1);
    EXPECT_EQ(model.logged("epoch 0 dropped"), rank_of(MPI_COMM_WORLD) == 0);
    model.finish_epoch();
    EXPECT_EQ(model.closed()[1].outcome, BALLAST_OUTCOME_COMMITTED) << model.closed()[1].reason;
  }
}

TEST(drill, two_diverged_plans_in_a_row_switch_balancing_off) {
  if (ranks() == 1) GTEST_SKIP() << "one rank agrees with itself";
  // A drill names one epoch, so two ranks rehearse one each.
  const std::string drill = rank_of(MPI_COMM_WORLD) == 0 ? "digest:0:0" : "digest:1:1";
  live_model model(MPI_COMM_WORLD, with_drill(drill));
  model.finish_epoch();
  EXPECT_FALSE(has(model.closed()[0], "switched off")) << model.closed()[0].reason;
  model.finish_epoch();
  EXPECT_TRUE(has(model.closed()[1], "balancing is switched off")) << model.closed()[1].reason;
  EXPECT_EQ(model.counters().balancing, 0);
  EXPECT_EQ(model.counters().plans_diverged, 2);
  const std::int64_t missed = model.counters().triggers_missed;  // while plans were made
  for (int i = 0; i < 40; ++i) EXPECT_EQ(model.step().phase, BALLAST_PHASE_IDLE);
  EXPECT_EQ(model.counters().epochs, 2);
  EXPECT_EQ(model.counters().triggers_missed, missed);
}

TEST(drill, diverged_plans_that_are_not_in_a_row_leave_balancing_on) {
  if (ranks() == 1) GTEST_SKIP() << "one rank agrees with itself";
  const std::string drill = rank_of(MPI_COMM_WORLD) == 0 ? "digest:0:0" : "digest:1:2";
  live_model model(MPI_COMM_WORLD, with_drill(drill));
  for (int i = 0; i < 3; ++i) model.finish_epoch();
  EXPECT_EQ(model.counters().plans_diverged, 2);
  EXPECT_EQ(model.counters().balancing, 1);
}

TEST(drill, a_planner_that_fails_on_one_rank_drops_the_epoch) {
  for (int odd = 0; odd < ranks(); ++odd) {
    SCOPED_TRACE("rank " + std::to_string(odd));
    const std::string drill = "error:" + std::to_string(odd) + ":0";
    live_model model(MPI_COMM_WORLD, with_drill(drill));
    const std::uint64_t before = model.tables_digest();
    model.finish_epoch();
    EXPECT_EQ(model.closed()[0].outcome, BALLAST_OUTCOME_DROPPED);
    EXPECT_STREQ(model.closed()[0].reason,
                 ("rank " + std::to_string(odd) + ": the planner failed").c_str());
    EXPECT_EQ(model.tables_digest(), before);
    EXPECT_EQ(model.logged("the planner failed: a rehearsed planner error"),
              rank_of(MPI_COMM_WORLD) == odd);
    model.finish_epoch();
    EXPECT_NE(model.closed()[1].outcome, BALLAST_OUTCOME_DROPPED) << model.closed()[1].reason;
  }
}

TEST(drill, a_wrong_arrival_is_not_served_and_the_epoch_commits_after_a_retry) {
  for (const int way :
       {BALLAST_WAY_AUTO, BALLAST_WAY_VACATE, BALLAST_WAY_SPARE, BALLAST_WAY_STAGED}) {
    for (int odd = 0; odd < ranks(); ++odd) {
      SCOPED_TRACE("rank " + std::to_string(odd) + ", way " + std::to_string(way));
      const std::string drill = "checksum:" + std::to_string(odd) + ":0";
      live_options o = with_drill(drill);
      o.config.way = way;
      o.config.spare_rows = way == BALLAST_WAY_SPARE ? 1 : 0;
      o.config.receives_per_batch = 2;
      live_model model(MPI_COMM_WORLD, o);
      model.finish_epoch();  // the bytes of all rows that serve are checked after every step
      const ballast_epoch e = model.closed()[0];
      const int hit = arrivals_at(model, odd) > 0;
      EXPECT_TRUE(hit || ranks() == 1) << "nothing arrived on this rank, the drill had no effect";
      EXPECT_EQ(e.retries, hit) << e.reason;
      EXPECT_EQ(e.outcome, ranks() == 1 ? e.outcome : BALLAST_OUTCOME_COMMITTED) << e.reason;
      EXPECT_EQ(model.counters().checksums_failed, hit);
      EXPECT_EQ(model.counters().slots_quarantined, 0);
      EXPECT_EQ(model.logged("wrong bytes: layer "), hit != 0 && rank_of(MPI_COMM_WORLD) == 0);
    }
  }
}

// Every move that still counts was received once, every move of the failed attempt perhaps once
// more.
TEST(drill, a_retry_counts_committed_moves_once) {
  if (ranks() == 1) GTEST_SKIP() << "one rank has nothing to move";
  const std::string drill = "checksum:1:0";
  live_options o = with_drill(drill);
  o.config.receives_per_batch = 1;
  o.config.bytes_per_step = made_up_weights::expert_bytes(0);
  live_model model(MPI_COMM_WORLD, o);
  model.finish_epoch();
  const ballast_epoch e = model.closed()[0];
  std::int64_t bytes = 0;
  for (const std::int64_t b : e.bytes) bytes += b;
  std::int64_t received = e.bytes_received;
  MPI_Allreduce(MPI_IN_PLACE, &received, 1, MPI_INT64_T, MPI_SUM, MPI_COMM_WORLD);
  EXPECT_EQ(e.retries, 1);
  EXPECT_GE(received, bytes);
}

TEST(drill, a_damaged_source_is_taken_out_of_service) {
  int quarantined = 0;
  for (int odd = 0; odd < ranks(); ++odd) {
    for (const std::uint64_t seed : {1, 2, 3, 4}) {
      SCOPED_TRACE("rank " + std::to_string(odd) + ", seed " + std::to_string(seed));
      const std::string drill = "source:" + std::to_string(odd) + ":0";
      live_options o = with_drill(drill);
      o.load_seed = seed;
      o.rows_may_be_damaged = true;
      o.config.slots_per_rank += 2;  // more replicas that can be a source
      live_model model(MPI_COMM_WORLD, o);
      model.finish_epoch();
      model.check_rows();
      const ballast_epoch e = model.closed()[0];
      const ballast_counters c = model.counters();
      EXPECT_EQ(c.checksums_failed, e.retries);
      EXPECT_EQ(c.slots_quarantined, e.retries);
      EXPECT_LE(e.retries, 1) << "one damaged row was the source twice";
      if (ranks() > 1) {
        EXPECT_EQ(e.outcome, BALLAST_OUTCOME_COMMITTED) << e.reason;
      }
      EXPECT_EQ(model.logged("are damaged there; the slot is out of service"),
                e.retries > 0 && rank_of(MPI_COMM_WORLD) == 0);
      quarantined += static_cast<int>(c.slots_quarantined);
      model.finish_epoch();
      EXPECT_NE(model.closed()[1].outcome, BALLAST_OUTCOME_DROPPED) << model.closed()[1].reason;
    }
  }
  EXPECT_TRUE(quarantined > 0 || ranks() < 3)
      << "no drill found a source with a twin: the test shows nothing";
}

// No rehearsal: a byte of the only copy of an expert changes, by a fault of the machine or of the
// engine.
TEST(drill, a_damaged_only_copy_is_named_and_moves_again_once_it_is_healed) {
  if (ranks() == 1) GTEST_SKIP() << "one rank has nothing to move";
  live_options o = {.config = small_config(ranks())};
  o.rows_may_be_damaged = true;
  o.config.slots_per_rank = (o.config.experts + ranks() - 1) / ranks();
  live_model model(MPI_COMM_WORLD, o);
  model.play(static_cast<int>(o.config.interval));
  const auto& moves = model.expectation().expected().steps.moves;
  ASSERT_FALSE(moves.empty());
  const auto single = std::ranges::find_if(moves, [&](const scheduled_move& m) {
    const placement now = model.current();
    return m.forwards < 0 && std::ranges::count(now.experts_of(m.layer), m.expert) == 1;
  });
  ASSERT_NE(single, moves.end());
  const scheduled_move move = *single;
  const auto flip = [&] {
    if (rank_of(MPI_COMM_WORLD) != move.source_rank) return;
    model.weights().flip_bit(move.layer, 1, move.source_slot % o.config.slots_per_rank);
  };
  flip();
  model.finish_epoch();
  const ballast_epoch e = model.closed()[0];
  EXPECT_EQ(e.outcome, BALLAST_OUTCOME_DROPPED);
  const std::string named = "layer " + std::to_string(move.layer) + ", expert " +
                            std::to_string(move.expert) + ": its only copy, in slot " +
                            std::to_string(move.source_slot) + " on rank " +
                            std::to_string(move.source_rank) + ", is damaged";
  EXPECT_TRUE(has(e, named)) << e.reason;
  EXPECT_EQ(model.logged(named), rank_of(MPI_COMM_WORLD) == 0);
  EXPECT_EQ(model.counters().slots_quarantined, 0);
  EXPECT_EQ(model.counters().experts_damaged, 1);
  ballast_damage damage;
  damage.struct_size = sizeof(damage);
  ASSERT_EQ(ballast_damaged(model.context(), 0, &damage), BALLAST_OK) << ballast_last_error();
  EXPECT_EQ(damage.layer, move.layer);
  EXPECT_EQ(damage.expert, move.expert);
  EXPECT_EQ(damage.slot, move.source_slot);
  EXPECT_EQ(damage.rank, move.source_rank);
  EXPECT_EQ(damage.epoch, e.epoch);
  EXPECT_EQ(ballast_damaged(model.context(), 1, &damage), BALLAST_ERROR_STATE);
  EXPECT_EQ(ballast_damaged(model.context(), -1, &damage), BALLAST_ERROR_STATE);

  flip();  // the engine has loaded it again
  model.check_rows();
  for (int epoch = 1; epoch < 20 && model.counters().experts_damaged > 0; ++epoch) {
    model.finish_epoch();
    model.check_rows();
    EXPECT_NE(model.closed().back().outcome, BALLAST_OUTCOME_DROPPED)
        << model.closed().back().reason;
  }
  EXPECT_EQ(model.counters().experts_damaged, 0) << "no later move has shown that it is healed";
}

}  // namespace
}  // namespace ballast
