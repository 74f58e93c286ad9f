// Several contexts at once: on halves of the ranks, each at its own pace, and on the same
// communicator.
#include <gtest/gtest.h>

#include <memory>
#include <vector>

#include "tests/mpi/live_model.hpp"

namespace ballast {
namespace {

TEST(contexts, halves_of_the_ranks_run_side_by_side) {
  const int rank = rank_of(MPI_COMM_WORLD);
  const int color = rank % 2;
  MPI_Comm half = MPI_COMM_NULL;
  MPI_Comm_split(MPI_COMM_WORLD, color, rank, &half);
  {
    live_options o = {.config = small_config(size_of(half))};
    o.config.interval = color == 0 ? 8 : 5;
    o.config.experts = color == 0 ? 13 : 7;
    o.config.policy = color == 0 ? "deepseek" : "random";
    o.load_seed = 10 + color;
    live_model model(half, o);
    for (int i = 0; i < 4 + 4 * color; ++i)
      model.finish_epoch();  // no rank of the other half takes part
    for (const ballast_epoch& e : model.closed())
      EXPECT_NE(e.outcome, BALLAST_OUTCOME_DROPPED) << e.reason;
  }
  MPI_Comm_free(&half);
}

TEST(contexts, two_on_one_communicator_do_not_meet) {
  const int ranks = size_of(MPI_COMM_WORLD);
  live_options fast = {.config = small_config(ranks)};
  fast.config.interval = 3;
  live_options slow = {.config = small_config(ranks)};
  slow.config.bytes_per_step = 1;
  slow.config.way = BALLAST_WAY_STAGED;
  slow.load_seed = 2;
  live_model a(MPI_COMM_WORLD, fast);
  live_model b(MPI_COMM_WORLD, slow);
  for (int i = 0; i < 200; ++i) {
    (i % 3 == 0 ? b : a).step();
    (i % 3 == 0 ? a : b).step();
  }
  for (const live_model* model : {&a, &b}) {
    EXPECT_GE(model->closed().size(), 3u);
    for (const ballast_epoch& e : model->closed())
      EXPECT_NE(e.outcome, BALLAST_OUTCOME_DROPPED) << e.reason;
  }
}

TEST(contexts, a_new_context_may_follow_one_that_was_destroyed_in_the_middle) {
  live_options o = {.config = small_config(size_of(MPI_COMM_WORLD))};
  o.config.bytes_per_step = 1;
  for (int i = 0; i < 5; ++i) {
    live_model model(MPI_COMM_WORLD, o);
    model.play(static_cast<int>(o.config.interval) + 3 * i);
  }
  live_model last(MPI_COMM_WORLD, o);
  EXPECT_TRUE(last.finish_epoch());
}

// The same loads, recorded by other ranks of other groups in another order: the same digest.
TEST(contexts, equal_groups_make_equal_plans) {
  const int rank = rank_of(MPI_COMM_WORLD);
  if (size_of(MPI_COMM_WORLD) < 4) GTEST_SKIP() << "two groups of two ranks need four";
  MPI_Comm pair = MPI_COMM_NULL;
  const bool left_over = rank >= size_of(MPI_COMM_WORLD) / 2 * 2;
  MPI_Comm_split(MPI_COMM_WORLD, left_over ? MPI_UNDEFINED : rank / 2, -rank, &pair);
  std::vector<std::uint64_t> digests(4, 0);
  if (pair != MPI_COMM_NULL) {
    live_options o = {.config = small_config(2)};
    o.config.planner_threads = 1 + rank / 2;
    for (std::uint64_t& digest : digests) {
      ++o.load_seed;
      live_model model(pair, o);
      model.finish_epoch();  // the first: later ones depend on how many steps this one takes
      digest = model.closed().back().digest;
      EXPECT_NE(digest, 0u);
    }
  }
  for (std::uint64_t digest : digests) {
    std::uint64_t low[2] = {left_over ? ~0ull : digest, left_over ? ~0ull : ~digest};
    MPI_Allreduce(MPI_IN_PLACE, low, 2, MPI_UINT64_T, MPI_MIN, MPI_COMM_WORLD);
    EXPECT_EQ(low[0], ~low[1]);
  }
  if (pair != MPI_COMM_NULL) MPI_Comm_free(&pair);
}

TEST(contexts, the_callers_error_handler_stays) {
  MPI_Errhandler before = MPI_ERRHANDLER_NULL;
  MPI_Errhandler after = MPI_ERRHANDLER_NULL;
  MPI_Comm_get_errhandler(MPI_COMM_WORLD, &before);
  {
    live_model model(MPI_COMM_WORLD, {.config = small_config(size_of(MPI_COMM_WORLD))});
    model.play(12);
  }
  MPI_Comm_get_errhandler(MPI_COMM_WORLD, &after);
  EXPECT_EQ(before, after);
  MPI_Errhandler_free(&before);
  MPI_Errhandler_free(&after);
}

}  // namespace
}  // namespace ballast
