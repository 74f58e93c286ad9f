// A rank's part of a schedule: over all ranks every move is done exactly once on each side, in the
// same order.
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>

#include "runtime/exchange.hpp"

namespace ballast {
namespace {

schedule random_schedule(int ranks, std::mt19937_64& random) {
  schedule all;
  const int batches = static_cast<int>(random() % 5);
  for (int b = 0; b < batches; ++b) {
    batch next;
    next.first_move = static_cast<std::int32_t>(all.moves.size());
    next.move_count = static_cast<std::int32_t>(random() % 12);
    for (int m = 0; m < next.move_count; ++m) {
      scheduled_move move;
      move.source_rank = static_cast<std::int32_t>(random() % ranks);
      move.target_rank = static_cast<std::int32_t>(random() % ranks);
      move.round = static_cast<std::int32_t>(random() % 4);
      all.moves.push_back(move);
    }
    all.batches.push_back(next);
  }
  return all;
}

class operations_of_random_schedules : public testing::TestWithParam<int> {};
INSTANTIATE_TEST_SUITE_P(ranks, operations_of_random_schedules, testing::Values(1, 2, 3, 5, 8));

TEST_P(operations_of_random_schedules, every_move_is_sent_once_and_received_once_or_copied_once) {
  const int ranks = GetParam();
  for (std::uint64_t seed = 0; seed < 50; ++seed) {
    std::mt19937_64 random(seed);
    const schedule all = random_schedule(ranks, random);
    std::map<std::pair<int, operation_kind>, int> done;
    for (int rank = 0; rank < ranks; ++rank) {
      for (const rank_operation& o : operations_of_rank(all, rank).operations) {
        const scheduled_move& move = all.moves[o.move];
        ++done[{o.move, o.kind}];
        ASSERT_EQ(o.round, move.round) << "seed " << seed;
        ASSERT_EQ(o.kind == operation_kind::copy, move.source_rank == move.target_rank)
            << "seed " << seed;
        const bool sends = o.kind != operation_kind::receive;
        ASSERT_EQ(sends ? move.source_rank : move.target_rank, rank) << "seed " << seed;
        ASSERT_EQ(o.peer, sends ? move.target_rank : move.source_rank) << "seed " << seed;
      }
    }
    for (int m = 0; m < static_cast<int>(all.moves.size()); ++m) {
      const int copy = all.moves[m].source_rank == all.moves[m].target_rank;
      EXPECT_EQ((done[{m, operation_kind::copy}]), copy) << "seed " << seed;
      EXPECT_EQ((done[{m, operation_kind::send}]), 1 - copy) << "seed " << seed;
      EXPECT_EQ((done[{m, operation_kind::receive}]), 1 - copy) << "seed " << seed;
    }
  }
}

TEST_P(operations_of_random_schedules, order_is_by_batch_then_round_then_move) {
  const int ranks = GetParam();
  for (std::uint64_t seed = 0; seed < 50; ++seed) {
    std::mt19937_64 random(seed);
    const schedule all = random_schedule(ranks, random);
    for (int rank = 0; rank < ranks; ++rank) {
      const rank_operations mine = operations_of_rank(all, rank);
      ASSERT_EQ(mine.first_of_batch.size(), all.batches.size() + 1);
      ASSERT_EQ(mine.first_of_batch.front(), 0);
      ASSERT_EQ(mine.first_of_batch.back(), static_cast<int>(mine.operations.size()));
      for (std::size_t b = 0; b < all.batches.size(); ++b) {
        for (int i = mine.first_of_batch[b]; i < mine.first_of_batch[b + 1]; ++i) {
          const rank_operation& o = mine.operations[i];
          ASSERT_GE(o.move, all.batches[b].first_move);
          ASSERT_LT(o.move, all.batches[b].first_move + all.batches[b].move_count);
          if (i == mine.first_of_batch[b]) continue;
          const rank_operation& before = mine.operations[i - 1];
          ASSERT_TRUE(before.round < o.round || (before.round == o.round && before.move < o.move))
              << "seed " << seed;
        }
      }
    }
  }
}

TEST(operations, rank_without_part_has_none) {
  schedule all;
  all.moves.resize(1);
  all.moves[0].target_rank = 1;
  all.batches.push_back({0, 1, 0, 0, 1, false});
  EXPECT_TRUE(operations_of_rank(all, 2).operations.empty());
  EXPECT_EQ(operations_of_rank(all, 2).first_of_batch, (std::vector<std::int32_t>{0, 0}));
  EXPECT_EQ(operations_of_rank({}, 0).first_of_batch, (std::vector<std::int32_t>{0}));
}

}  // namespace
}  // namespace ballast
