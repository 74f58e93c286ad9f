// A rank's part of the traffic: over all ranks it is the counts that the source gave, no more and
// no less.
#include "jobs/replay/traffic.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>

namespace ballast {
namespace {

TEST(traffic, parts_sum_to_the_count_and_differ_by_one_at_most) {
  for (const int ranks : {1, 2, 3, 7, 8, 64}) {
    for (const std::int64_t count :
         {std::int64_t{0}, std::int64_t{1}, std::int64_t{2}, std::int64_t{63}, std::int64_t{64},
          std::int64_t{65}, std::int64_t{1000003}, std::int64_t{1} << 62}) {
      for (const std::int64_t salt : {std::int64_t{0}, std::int64_t{1}, std::int64_t{6},
                                      std::int64_t{1000}, std::int64_t{1} << 40}) {
        std::int64_t sum = 0, least = count, most = 0;
        for (int rank = 0; rank < ranks; ++rank) {
          const std::int64_t part = part_of_rank(count, salt, rank, ranks);
          sum += part;
          least = std::min(least, part);
          most = std::max(most, part);
        }
        ASSERT_EQ(sum, count) << ranks << " ranks, salt " << salt;
        ASSERT_LE(most - least, 1) << ranks << " ranks, count " << count << ", salt " << salt;
      }
    }
  }
}

TEST(traffic, rest_goes_to_the_ranks_that_follow_the_salt) {
  for (std::int64_t salt = 0; salt < 12; ++salt) {
    for (int rank = 0; rank < 5; ++rank) {
      const bool first = rank == salt % 5;
      const bool second = rank == (salt + 1) % 5;
      EXPECT_EQ(part_of_rank(2, salt, rank, 5), first || second ? 1 : 0)
          << "salt " << salt << ", rank " << rank;
    }
  }
}

TEST(traffic, ids_occur_as_often_as_the_parts_say) {
  for (std::uint64_t seed = 0; seed < 50; ++seed) {
    std::mt19937_64 random(seed);
    std::vector<std::int64_t> counts(1 + random() % 40);
    for (std::int64_t& count : counts) count = static_cast<std::int64_t>(random() % 200);
    const int ranks = static_cast<int>(1 + random() % 8);
    const int layer = static_cast<int>(random() % 60);
    const auto step = static_cast<std::int64_t>(random() % 100000);
    std::vector<std::int64_t> seen(counts.size(), 0);
    std::vector<std::int32_t> ids = {-5, -5};
    for (int rank = 0; rank < ranks; ++rank) {
      make_ids(counts, layer, step, rank, ranks, ids);
      std::vector<std::int64_t> mine(counts.size(), 0);
      for (const std::int32_t id : ids) ++mine.at(id);
      for (std::size_t e = 0; e < counts.size(); ++e) {
        ASSERT_EQ(mine[e],
                  part_of_rank(counts[e], layer + static_cast<std::int64_t>(e) + step, rank, ranks))
            << "seed " << seed;
        seen[e] += mine[e];
      }
    }
    ASSERT_EQ(seen, counts) << "seed " << seed;
  }
}

TEST(traffic, order_is_shuffled_fixed_and_not_the_same_everywhere) {
  const std::vector<std::int64_t> counts(50, 20);
  const auto ids_at = [&](int layer, std::int64_t step, int rank) {
    std::vector<std::int32_t> ids;
    make_ids(counts, layer, step, rank, 2, ids);
    return ids;
  };
  const auto first = ids_at(3, 7, 0);
  EXPECT_EQ(ids_at(3, 7, 0), first);
  EXPECT_FALSE(std::is_sorted(first.begin(), first.end()));
  EXPECT_NE(ids_at(4, 7, 0), first);
  EXPECT_NE(ids_at(3, 8, 0), first);
  EXPECT_NE(ids_at(3, 7, 1), first);
  // Neighbours are independent: equal ones about as often as by chance, 1 in 50.
  int equal = 0;
  for (std::size_t i = 1; i < first.size(); ++i) equal += first[i] == first[i - 1];
  EXPECT_LT(equal, 30) << "of " << first.size();
}

TEST(traffic, no_load_gives_no_ids) {
  std::vector<std::int32_t> ids = {1, 2, 3};
  make_ids(std::vector<std::int64_t>(8, 0), 0, 0, 0, 4, ids);
  EXPECT_TRUE(ids.empty());
  make_ids({}, 0, 0, 0, 4, ids);
  EXPECT_TRUE(ids.empty());
}

}  // namespace
}  // namespace ballast
