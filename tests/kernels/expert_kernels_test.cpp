// What needs no GPU of copying, committing, and hashing whole experts: the host twins
// against plain expectations.
#include <gtest/gtest.h>

#include <numeric>
#include <vector>

#include "kernels/commit.hpp"
#include "kernels/copy_rows.hpp"
#include "kernels/hash.hpp"
#include "kernels/pack.hpp"

namespace ballast {
namespace {

TEST(copy_rows, rows_are_copied_and_nothing_else) {
  std::vector<unsigned char> from = {1, 2, 3, 4, 5}, to(5, 0);
  row_copies rows;
  rows.count = 3;
  rows.bytes[0] = 2;
  rows.from[0] = from.data();
  rows.to[0] = to.data() + 3;
  rows.bytes[2] = 1;
  rows.from[2] = from.data() + 4;
  rows.to[2] = to.data();
  copy_rows_host(rows);
  EXPECT_EQ(to, (std::vector<unsigned char>{5, 0, 0, 1, 2}));
}

TEST(commit, tables_are_copied_and_nothing_else) {
  std::vector<std::int32_t> from = {1, 2, 3, 4, 5}, to(5, 0);
  const std::vector<table_copy> copies = {
      {from.data(), to.data(), 2}, {from.data() + 4, to.data() + 3, 1}, {nullptr, nullptr, 0}};
  commit_tables_host(copies);
  EXPECT_EQ(to, (std::vector<std::int32_t>{1, 2, 0, 5, 0}));
}

// Two experts of tensors of 3, 0 and 300 bytes, rows in one buffer.
struct rows_of_two {
  rows_of_two() {
    std::iota(bytes.begin(), bytes.end(), static_cast<unsigned char>(1));
    std::size_t at = 0;
    for (int e = 0; e < 2; ++e) {
      for (const std::uint64_t size : sizes) {
        addresses.push_back(bytes.data() + at);
        at += size + 5;
      }
    }
  }
  expert_rows get() { return {addresses.data(), nullptr}; }

  std::vector<std::uint64_t> sizes = {3, 0, 300};
  std::vector<unsigned char> bytes = std::vector<unsigned char>(2 * (303 + 15));
  std::vector<void*> addresses;
};

TEST(pack, tensors_lie_aligned_one_behind_the_other) {
  const expert_shape shape = shape_of(rows_of_two().sizes);
  EXPECT_EQ(shape.tensors, 3);
  EXPECT_EQ(shape.packed_offset[1], 256u);
  EXPECT_EQ(shape.packed_offset[2], 256u);
  EXPECT_EQ(shape.packed_bytes, 256u + 512u);
}

TEST(pack, rows_come_back_from_a_packed_buffer_and_gaps_are_left) {
  rows_of_two from, to;
  const expert_shape shape = shape_of(from.sizes);
  std::fill(to.bytes.begin(), to.bytes.end(), static_cast<unsigned char>(0xee));
  std::vector<unsigned char> packed(2 * shape.packed_bytes, 0xdd);
  copy_experts_host(shape, from.get(), {nullptr, packed.data()}, 2);
  EXPECT_EQ(packed[2], from.bytes[2]);
  EXPECT_EQ(packed[3], 0xdd);
  copy_experts_host(shape, {nullptr, packed.data()}, to.get(), 2);
  for (std::size_t i = 0; i < to.addresses.size(); ++i) {
    const auto* got = static_cast<unsigned char*>(to.addresses[i]);
    const auto* expected = static_cast<unsigned char*>(from.addresses[i]);
    for (std::uint64_t b = 0; b < from.sizes[i % 3]; ++b)
      ASSERT_EQ(got[b], expected[b]) << "row " << i << ", byte " << b;
    EXPECT_EQ(got[from.sizes[i % 3]], 0xee) << "behind row " << i;
  }
}

TEST(hash, an_expert_has_the_combined_hash_of_its_tensors) {
  rows_of_two rows;
  const expert_shape shape = shape_of(rows.sizes);
  std::vector<std::uint64_t> hashes(2);
  hash_experts_host(shape, rows.get(), 2, hashes.data());
  for (int e = 0; e < 2; ++e) {
    std::uint64_t expected = 0;
    for (int t = 0; t < 3; ++t)
      expected =
          combine_hash(expected, hash_bytes_host(rows.addresses[3 * e + t], rows.sizes[t], t + 1));
    EXPECT_EQ(hashes[e], expected);
  }
  EXPECT_NE(hashes[0], hashes[1]);
}

}  // namespace
}  // namespace ballast
