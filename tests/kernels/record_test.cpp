// Recording against a plain loop: every shape of the id matrix, every kind of id, both id types,
// and both ways of counting (one by one, and through the histograms).
#include "kernels/record.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <random>
#include <vector>

namespace ballast {
namespace {

struct counted {
  std::vector<std::int64_t> counts;
  std::int64_t outside = 0;
  bool operator==(const counted&) const = default;
};

template <typename Id>
id_matrix matrix_of(const std::vector<Id>& ids, std::int32_t columns, std::int32_t shared = 0,
                    std::int64_t padding_rows = 0) {
  const auto tokens = static_cast<std::int64_t>(ids.size()) / columns;
  return {ids.data(), sizeof(Id) == 8, columns, shared, tokens, tokens - padding_rows};
}

// What the header says, one id at a time.
template <typename Id>
counted plainly(const id_matrix& m, int experts, std::int64_t start = 0) {
  counted all{std::vector<std::int64_t>(experts, start), 0};
  const auto* ids = static_cast<const Id*>(m.ids);
  for (std::int64_t token = 0; token < m.valid_tokens; ++token) {
    for (std::int32_t c = 0; c < m.columns - m.shared_columns; ++c) {
      const std::int64_t id = ids[token * m.columns + c];
      if (id >= 0 && id < experts) {
        ++all.counts[id];
      } else if (id != -1) {
        ++all.outside;
      }
    }
  }
  return all;
}

// Counts with scratch that must be zero again afterwards.
counted by_kernel(const id_matrix& m, int experts, std::int64_t start = 0) {
  counted all{std::vector<std::int64_t>(experts, start), 0};
  std::vector<std::uint32_t> scratch(record_scratch_size(experts), 0);
  all.outside = record_host(m, all.counts, scratch);
  EXPECT_TRUE(std::ranges::all_of(scratch, [](std::uint32_t bin) { return bin == 0; }));
  return all;
}

// Ids in range mostly; the rest are -1 and everything that is out of range.
template <typename Id>
std::vector<Id> some_ids(std::size_t n, int experts, std::mt19937_64& random) {
  const std::vector<Id> odd = {-1,
                               -1,
                               -2,
                               static_cast<Id>(experts),
                               static_cast<Id>(experts + 1),
                               std::numeric_limits<Id>::max(),
                               static_cast<Id>(std::numeric_limits<Id>::max() - 1),
                               std::numeric_limits<Id>::min(),
                               static_cast<Id>(std::numeric_limits<Id>::min() + 1)};
  std::vector<Id> ids(n);
  for (Id& id : ids) {
    id = random() % 8 == 0 ? odd[random() % odd.size()]
                           : static_cast<Id>(random() % static_cast<unsigned>(experts));
  }
  return ids;
}

template <typename Id>
class record_of : public testing::Test {};
using id_types = testing::Types<std::int32_t, std::int64_t>;
TYPED_TEST_SUITE(record_of, id_types);

TYPED_TEST(record_of, counts_are_those_of_a_plain_loop_for_every_shape) {
  for (std::uint64_t seed = 0; seed < 400; ++seed) {
    std::mt19937_64 random(seed);
    const int experts = std::vector{1, 2, 3, 7, 64, 257, 1000}[random() % 7];
    const auto columns = static_cast<std::int32_t>(1 + random() % 9);
    const auto shared = static_cast<std::int32_t>(random() % (columns + 1));
    const std::int64_t tokens = std::vector{0, 1, 2, 3, 5, 13, 100, 2000}[random() % 8];
    const auto ids =
        some_ids<TypeParam>(static_cast<std::size_t>(tokens * columns), experts, random);
    const id_matrix m =
        matrix_of(ids, columns, shared, static_cast<std::int64_t>(random() % (tokens + 1)));
    const auto start = static_cast<std::int64_t>(random() % 1000);
    ASSERT_EQ(by_kernel(m, experts, start), plainly<TypeParam>(m, experts, start))
        << "seed " << seed;
  }
}

TYPED_TEST(record_of, few_ids_and_many_ids_are_counted_alike) {
  // The kernel counts fewer than 4 ids per expert one by one; walk over that border.
  constexpr int experts = 16;
  std::mt19937_64 random(5);
  for (std::size_t n = 0; n <= 160; ++n) {
    const auto ids = some_ids<TypeParam>(n, experts, random);
    const id_matrix m = matrix_of(ids, 1);
    ASSERT_EQ(by_kernel(m, experts), plainly<TypeParam>(m, experts)) << n << " ids";
  }
}

TYPED_TEST(record_of, ids_at_the_ends_of_their_type_are_out_of_range) {
  constexpr TypeParam ends[] = {
      std::numeric_limits<TypeParam>::max(), std::numeric_limits<TypeParam>::min(),
      std::numeric_limits<TypeParam>::max() - 1, std::numeric_limits<TypeParam>::min() + 1};
  for (const TypeParam id : ends) {
    for (const std::size_t n : {1u, 1000u}) {
      const std::vector<TypeParam> ids(n, id);
      const counted all = by_kernel(matrix_of(ids, 1), 3);
      EXPECT_EQ(all.outside, static_cast<std::int64_t>(n)) << id;
      EXPECT_EQ(all.counts, std::vector<std::int64_t>(3, 0)) << id;
    }
  }
}

TYPED_TEST(record_of, padding_ids_are_neither_counted_nor_out_of_range) {
  const std::vector<TypeParam> ids(997, -1);
  EXPECT_EQ(by_kernel(matrix_of(ids, 1), 4), (counted{{0, 0, 0, 0}, 0}));
}

TYPED_TEST(record_of, padding_rows_and_shared_columns_are_not_looked_at) {
  constexpr std::int32_t columns = 5;
  constexpr std::int64_t tokens = 400;
  std::vector<TypeParam> ids(tokens * columns, 1);
  for (std::int64_t token = 0; token < tokens; ++token) {
    for (std::int32_t c = 0; c < columns; ++c) {
      if (token >= 300 || c >= 3)
        ids[token * columns + c] = c % 2 == 0 ? 2 : std::numeric_limits<TypeParam>::max();
    }
  }
  EXPECT_EQ(by_kernel(matrix_of(ids, columns, 2, 100), 3), (counted{{0, 900, 0}, 0}));
}

TYPED_TEST(record_of, one_expert_with_all_tokens_gets_all_of_them) {
  const std::vector<TypeParam> ids(100003, 6);
  std::vector<std::int64_t> expected(8, 0);
  expected[6] = 100003;
  EXPECT_EQ(by_kernel(matrix_of(ids, 1), 8).counts, expected);
}

TEST(record, scratch_is_used_again_without_clearing) {
  std::mt19937_64 random(11);
  constexpr int experts = 13;
  std::vector<std::uint32_t> scratch(record_scratch_size(experts), 0);
  std::vector<std::int64_t> counts(experts, 0);
  std::vector<std::int64_t> expected(experts, 0);
  for (int pass = 0; pass < 20; ++pass) {
    const auto ids = some_ids<std::int32_t>(random() % 500, experts, random);
    const id_matrix m = matrix_of(ids, 1);
    const counted one = plainly<std::int32_t>(m, experts);
    for (int e = 0; e < experts; ++e) expected[e] += one.counts[e];
    EXPECT_EQ(record_host(m, counts, scratch), one.outside) << "pass " << pass;
  }
  EXPECT_EQ(counts, expected);
}

TEST(record, zero_tokens_touch_nothing_and_need_no_ids) {
  std::vector<std::int64_t> counts = {4, 5};
  std::vector<std::uint32_t> scratch(record_scratch_size(2), 0);
  EXPECT_EQ(record_host({nullptr, false, 3, 0, 0, 0}, counts, scratch), 0);
  EXPECT_EQ(counts, (std::vector<std::int64_t>{4, 5}));
}

}  // namespace
}  // namespace ballast
