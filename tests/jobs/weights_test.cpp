// The replayed model's weights: every byte follows from its place, every wrong byte is counted, and
// no two experts, tensors or layers are alike.
#include "jobs/replay/weights.hpp"

#include <gtest/gtest.h>

#include <cstring>
#include <limits>
#include <new>
#include <set>
#include <string>

namespace ballast {
namespace {

const std::vector<std::size_t> odd_sizes = {24, 7, 1, 129};

std::vector<std::byte> row_of(const replay_weights& weights, int layer, int row,
                              const std::vector<std::size_t>& sizes) {
  std::vector<std::byte> bytes;
  for (std::size_t t = 0; t < sizes.size(); ++t) {
    const std::byte* at = weights.address(layer, static_cast<int>(t), row);
    bytes.insert(bytes.end(), at, at + sizes[t]);
  }
  return bytes;
}

TEST(weights, filled_rows_have_no_wrong_bytes_whatever_row_they_are_in) {
  replay_weights here(2, 3, odd_sizes, weight_content::bytes);
  replay_weights there(2, 5, odd_sizes, weight_content::bytes);
  for (int layer = 0; layer < 2; ++layer) {
    for (int expert = 0; expert < 3; ++expert) {
      here.fill(layer, expert, expert);
      there.fill(layer, 4 - expert, expert);
    }
    for (int expert = 0; expert < 3; ++expert) {
      EXPECT_EQ(here.wrong_bytes(layer, expert, expert), 0);
      EXPECT_EQ(there.wrong_bytes(layer, 4 - expert, expert), 0);
      EXPECT_EQ(row_of(here, layer, expert, odd_sizes),
                row_of(there, layer, 4 - expert, odd_sizes));
    }
  }
}

TEST(weights, every_wrong_byte_is_counted) {
  for (const weight_content content : {weight_content::bytes, weight_content::ternary}) {
    replay_weights weights(1, 2, odd_sizes, content);
    weights.fill(0, 1, 6);
    std::int64_t wrong = 0;
    for (std::size_t t = 0; t < odd_sizes.size(); ++t) {
      auto* at =
          static_cast<std::byte*>(weights.tensors(0)[t].base) + weights.tensors(0)[t].row_stride;
      for (std::size_t b = 0; b < odd_sizes[t]; ++b) {
        at[b] ^= std::byte{1};
        EXPECT_EQ(weights.wrong_bytes(0, 1, 6), 1) << "tensor " << t << ", byte " << b;
        at[b] ^= std::byte{1};
      }
    }
    for (std::size_t t = 0; t < odd_sizes.size(); ++t) {
      auto* at =
          static_cast<std::byte*>(weights.tensors(0)[t].base) + weights.tensors(0)[t].row_stride;
      for (std::size_t b = 0; b < odd_sizes[t]; ++b) {
        at[b] = ~at[b];
        EXPECT_EQ(weights.wrong_bytes(0, 1, 6), ++wrong);
      }
    }
  }
}

TEST(weights, bytes_between_rows_do_not_count) {
  replay_weights weights(1, 2, {7}, weight_content::bytes);
  weights.fill(0, 0, 1);
  weights.fill(0, 1, 2);
  const ballast_tensor tensor = weights.tensors(0)[0];
  ASSERT_GT(tensor.row_stride, tensor.row_bytes);
  static_cast<std::byte*>(tensor.base)[7] ^= std::byte{255};
  EXPECT_EQ(weights.wrong_bytes(0, 0, 1) + weights.wrong_bytes(0, 1, 2), 0);
}

TEST(weights, other_layers_experts_and_tensors_hold_other_bytes) {
  const std::vector<std::size_t> sizes = {64, 64};
  replay_weights weights(20, 30, sizes, weight_content::bytes);
  std::set<std::string> seen;
  for (int layer = 0; layer < 20; ++layer) {
    for (int expert = 0; expert < 30; ++expert) {
      weights.fill(layer, expert, expert);
      for (int t = 0; t < 2; ++t)
        seen.emplace(reinterpret_cast<const char*>(weights.address(layer, t, expert)), 64);
    }
  }
  EXPECT_EQ(seen.size(), 20u * 30 * 2);
  EXPECT_GT(weights.wrong_bytes(3, 4, 5), 110);
  EXPECT_GT(weights.wrong_bytes(3, 4, 4 + 256), 110) << "ids beyond a byte count too";
}

TEST(weights, ternary_weights_are_minus_one_zero_and_one_in_equal_parts) {
  replay_weights weights(1, 1, {4 * 30000}, weight_content::ternary);
  weights.fill(0, 0, 9);
  int count[3] = {};
  for (int i = 0; i < 30000; ++i) {
    float value = 0;
    std::memcpy(&value, weights.address(0, 0, 0) + 4 * i, 4);
    ASSERT_TRUE(value == -1 || value == 0 || value == 1) << value;
    ++count[static_cast<int>(value) + 1];
  }
  for (const int n : count) EXPECT_NEAR(n, 10000, 408);  // 5 standard deviations
}

TEST(weights, tensors_describe_the_rows) {
  replay_weights weights(2, 3, odd_sizes, weight_content::bytes);
  const std::vector<ballast_tensor> tensors = weights.tensors(1);
  ASSERT_EQ(tensors.size(), odd_sizes.size());
  for (std::size_t t = 0; t < tensors.size(); ++t) {
    EXPECT_EQ(tensors[t].row_bytes, odd_sizes[t]);
    EXPECT_GE(tensors[t].row_stride, tensors[t].row_bytes);
    for (int row = 0; row < 3; ++row) {
      EXPECT_EQ(weights.address(1, static_cast<int>(t), row),
                static_cast<std::byte*>(tensors[t].base) + row * tensors[t].row_stride);
    }
  }
}

TEST(weights, sizes_beyond_memory_throw) {
  EXPECT_THROW(
      replay_weights(1, 16, {std::numeric_limits<std::size_t>::max() / 8}, weight_content::bytes),
      std::bad_alloc);
}

TEST(split_expert, parts_sum_up_and_large_experts_have_odd_scales) {
  for (std::int64_t bytes : {1, 2, 255, 256, 257, 1000, 4096, 65536, 262144, 1000003, 44040192}) {
    const std::vector<std::size_t> parts = split_expert(bytes);
    std::size_t sum = 0;
    for (const std::size_t part : parts) {
      EXPECT_GT(part, 0u) << bytes;
      sum += part;
    }
    EXPECT_EQ(sum, static_cast<std::size_t>(bytes));
    if (bytes < 256) {
      EXPECT_EQ(parts.size(), 1u) << bytes;
      continue;
    }
    ASSERT_EQ(parts.size(), 3u) << bytes;
    EXPECT_EQ(parts[2] % 2, 1u) << bytes;
    EXPECT_NEAR(static_cast<double>(parts[0]) / static_cast<double>(parts[1]), 2, 0.05) << bytes;
  }
}

}  // namespace
}  // namespace ballast
