// Registered rows and staging: what is refused and what is not, addresses, copies and hashes.
#include "runtime/expert_memory.hpp"

#include <gtest/gtest.h>

#include <cstring>
#include <limits>
#include <random>
#include <set>
#include <vector>

#include "kernels/hash.hpp"
#include "runtime/error.hpp"

namespace ballast {
namespace {

constexpr int rows = 3;
std::vector<std::byte> storage(4096);
std::byte* at(std::size_t offset) { return storage.data() + offset; }

std::string refusal(expert_memory& memory, int layer, const std::vector<ballast_tensor>& tensors) {
  try {
    memory.register_layer(layer, tensors);
  } catch (const error& e) {
    EXPECT_EQ(e.status(), BALLAST_ERROR_INVALID_ARGUMENT) << e.what();
    return e.what();
  }
  return "accepted";
}

std::string refusal(const std::vector<ballast_tensor>& tensors) {
  expert_memory memory(8, 4, rows);
  const std::string text = refusal(memory, 7, tensors);
  // A refused layer can be registered again, correctly.
  if (text != "accepted") {
    EXPECT_EQ(memory.tensor_count(7), 0);
    EXPECT_EQ(refusal(memory, 7, {{at(0), 8, 8}}), "accepted");
  }
  return text;
}

TEST(expert_memory, bad_tensors_are_refused_by_layer_and_tensor) {
  constexpr auto huge = std::numeric_limits<std::size_t>::max();
  EXPECT_EQ(refusal({{at(0), 8, 8}, {nullptr, 8, 8}}), "layer 7, tensor 1: base is NULL");
  EXPECT_EQ(refusal({{at(0), 0, 8}}), "layer 7, tensor 0: row_bytes is 0");
  EXPECT_EQ(refusal({{at(0), 8, 7}}),
            "layer 7, tensor 0: row_stride 7 is less than row_bytes 8: rows would overlap");
  EXPECT_EQ(refusal({{at(0), 8, 0}}),
            "layer 7, tensor 0: row_stride 0 is less than row_bytes 8: rows would overlap");
  EXPECT_EQ(refusal({{at(0), 8, huge}}),
            "layer 7, tensor 0: 3 rows of stride 18446744073709551615 do not fit an address space");
  EXPECT_EQ(refusal({{at(0), 8, huge / 2}}),
            "layer 7, tensor 0: 3 rows of stride 9223372036854775807 do not fit an address space");
  EXPECT_EQ(refusal({}), "layer 7: 0 tensors, 1 to 64 are possible");
  std::vector<ballast_tensor> many;
  for (std::size_t t = 0; t < 65; ++t) many.push_back({at(32 * t), 4, 4});
  EXPECT_EQ(refusal(many), "layer 7: 65 tensors, 1 to 64 are possible");
  many.pop_back();
  EXPECT_EQ(refusal(many), "accepted");
}

TEST(expert_memory, experts_too_large_to_count_are_refused) {
  constexpr std::size_t tib64 = std::size_t{1} << 46;
  EXPECT_EQ(refusal({{at(0), tib64, tib64}}), "accepted");
  EXPECT_EQ(
      refusal({{at(0), tib64 + 1, tib64 + 1}}),
      "layer 7, tensor 0: row_bytes 70368744177665 brings an expert above 70368744177664 bytes");
  EXPECT_EQ(refusal({{at(0), tib64, tib64}, {at(0) + 3 * tib64, 1, 1}}),
            "layer 7, tensor 1: row_bytes 1 brings an expert above 70368744177664 bytes");
}

TEST(expert_memory, layers_out_of_range_and_registered_twice_are_refused) {
  expert_memory memory(2, 4, rows);
  EXPECT_EQ(refusal(memory, -1, {{at(0), 8, 8}}), "layer -1 is not in 0..1");
  EXPECT_EQ(refusal(memory, 2, {{at(0), 8, 8}}), "layer 2 is not in 0..1");
  EXPECT_EQ(memory.first_missing_layer(), 0);
  EXPECT_EQ(refusal(memory, 0, {{at(0), 8, 8}}), "accepted");
  EXPECT_EQ(memory.first_missing_layer(), 1);
  EXPECT_EQ(refusal(memory, 0, {{at(64), 8, 8}}), "layer 0 is registered already");
  EXPECT_EQ(memory.address(0, 0, {0, -1}), at(0));
  EXPECT_EQ(refusal(memory, 1, {{at(64), 8, 8}}), "accepted");
  EXPECT_EQ(memory.first_missing_layer(), -1);
}

TEST(expert_memory, tensors_whose_rows_overlap_are_refused) {
  EXPECT_EQ(refusal({{at(0), 8, 8}, {at(0), 8, 8}}),
            "layer 7, tensor 1: rows overlap with tensor 0");
  EXPECT_EQ(refusal({{at(0), 8, 8}, {at(23), 8, 8}}),
            "layer 7, tensor 1: rows overlap with tensor 0");
  EXPECT_EQ(refusal({{at(0), 8, 8}, {at(24), 8, 8}}), "accepted");
  EXPECT_EQ(refusal({{at(100), 8, 8}, {at(500), 8, 8}, {at(510), 1, 1}}),
            "layer 7, tensor 2: rows overlap with tensor 1");
}

TEST(expert_memory, interleaved_tensors_are_accepted_as_long_as_their_rows_are_apart) {
  // One allocation of [row][weights 24 | scales 8].
  EXPECT_EQ(refusal({{at(0), 24, 32}, {at(24), 8, 32}}), "accepted");
  EXPECT_EQ(refusal({{at(24), 8, 32}, {at(0), 24, 32}}), "accepted");
  EXPECT_EQ(refusal({{at(0), 25, 32}, {at(24), 8, 32}}),
            "layer 7, tensor 1: rows overlap with tensor 0");
  // Different strides that meet in the last row only.
  EXPECT_EQ(refusal({{at(0), 4, 40}, {at(44), 4, 18}}),
            "layer 7, tensor 1: rows overlap with tensor 0");
  EXPECT_EQ(refusal({{at(0), 4, 40}, {at(44), 4, 20}}), "accepted");
}

TEST(expert_memory, rows_of_two_layers_that_overlap_are_refused) {
  expert_memory memory(3, 4, rows);
  ASSERT_EQ(refusal(memory, 1, {{at(0), 8, 32}, {at(400), 8, 8}}), "accepted");
  EXPECT_EQ(refusal(memory, 0, {{at(0), 8, 32}}),
            "layer 0, tensor 0: rows overlap with layer 1, tensor 0");
  EXPECT_EQ(refusal(memory, 0, {{at(8), 8, 32}, {at(407), 1, 1}}),
            "layer 0, tensor 1: rows overlap with layer 1, tensor 1");
  EXPECT_EQ(refusal(memory, 0, {{at(8), 8, 32}}), "accepted");  // one allocation [row][layer]
  EXPECT_EQ(refusal(memory, 2, {{at(16), 16, 32}}), "accepted");
}

// A layer of fewer rows needs no memory for the others.
TEST(expert_memory, only_rows_that_a_layer_has_can_overlap) {
  expert_memory memory(2, 4, rows);
  memory.limit_rows({rows - 1, rows});
  ASSERT_EQ(refusal(memory, 0, {{at(0), 8, 8}}), "accepted");
  EXPECT_EQ(refusal(memory, 1, {{at(8 * (rows - 1)), 8, 8}}), "accepted");
}

TEST(expert_memory, overlap_is_what_marking_every_byte_says) {
  for (std::uint64_t seed = 0; seed < 3000; ++seed) {
    std::mt19937_64 random(seed);
    std::vector<ballast_tensor> tensors;
    std::vector<int> owners(2048, 0);
    bool overlap = false;
    for (int t = 0; t < 3; ++t) {
      const std::size_t bytes = 1 + random() % 12;
      const std::size_t stride = bytes + random() % 24;
      const std::size_t begin = random() % 120;
      tensors.push_back({at(begin), bytes, stride});
      for (int row = 0; row < rows; ++row) {
        for (std::size_t b = 0; b < bytes; ++b) overlap |= ++owners[begin + row * stride + b] > 1;
      }
    }
    ASSERT_EQ(refusal(tensors) != "accepted", overlap) << "seed " << seed;
  }
}

TEST(expert_memory, sizes_are_added_up_over_tensors_and_layers) {
  expert_memory memory(2, 4, rows);
  memory.register_layer(0, std::vector<ballast_tensor>{{at(0), 24, 32}, {at(24), 7, 32}});
  memory.register_layer(
      1, std::vector<ballast_tensor>{{at(200), 5, 5}, {at(300), 1, 1}, {at(400), 3, 9}});
  EXPECT_EQ(memory.expert_bytes(0), 31);
  EXPECT_EQ(memory.expert_bytes(1), 9);
  EXPECT_EQ(memory.expert_bytes_max(), 31);
  EXPECT_EQ(memory.tensor_count_max(), 3);
  EXPECT_EQ(memory.tensor_bytes(1, 2), 3u);
  EXPECT_EQ(memory.address(0, 1, {2, -1}), at(24 + 64));
  EXPECT_EQ(memory.address(1, 2, {1, -1}), at(400 + 9));
}

TEST(expert_memory, shape_digest_knows_sizes_and_order_but_not_addresses_and_strides) {
  const auto digest = [](const std::vector<ballast_tensor>& tensors) {
    expert_memory memory(1, 4, rows);
    memory.register_layer(0, tensors);
    return memory.shape_digest(0);
  };
  const std::uint64_t first = digest({{at(0), 8, 8}, {at(100), 16, 16}});
  EXPECT_EQ(digest({{at(500), 8, 64}, {at(900), 16, 17}}), first);
  EXPECT_NE(digest({{at(0), 16, 16}, {at(100), 8, 8}}), first);
  EXPECT_NE(digest({{at(0), 8, 8}, {at(100), 17, 17}}), first);
  EXPECT_NE(digest({{at(0), 8, 8}}), first);
  EXPECT_NE(digest({{at(0), 8, 8}, {at(100), 16, 16}, {at(300), 1, 1}}), first);
}

TEST(expert_memory, staging_rows_are_apart_and_hold_a_whole_expert_of_any_layer) {
  expert_memory memory(2, 4, rows);
  memory.register_layer(0, std::vector<ballast_tensor>{{at(0), 24, 32}, {at(24), 7, 32}});
  memory.register_layer(1, std::vector<ballast_tensor>{{at(200), 100, 100}, {at(600), 1, 1}});
  memory.allocate_staging(2);
  for (int layer = 0; layer < 2; ++layer) {
    std::set<std::byte*> used;
    for (int half = 0; half < 2; ++half) {
      for (int row = 0; row < 2; ++row) {
        for (int t = 0; t < memory.tensor_count(layer); ++t) {
          std::byte* begin = memory.address(layer, t, {row, half});
          for (std::size_t b = 0; b < memory.tensor_bytes(layer, t); ++b) {
            begin[b] = std::byte{1};  // the sanitizer sees what is outside
            ASSERT_TRUE(used.insert(begin + b).second)
                << "half " << half << ", row " << row << ", tensor " << t;
          }
        }
      }
    }
  }
}

// A large row at another alignment is pulled more slowly.
TEST(expert_memory, large_rows_in_staging_are_multiples_of_64_kib_apart) {
  constexpr std::size_t unit = 64 << 10;
  constexpr std::size_t large = (1 << 20) + 8;
  std::vector<std::byte> weights(2 * rows * large);
  expert_memory memory(2, 4, rows);
  memory.register_layer(0, std::vector<ballast_tensor>{{weights.data(), large, large}});
  memory.register_layer(
      1, std::vector<ballast_tensor>{{at(0), 24, 32}, {&weights[rows * large], large, large}});
  memory.allocate_staging(2);
  const std::byte* const first = memory.address(0, 0, {0, 0});
  for (int half = 0; half < 2; ++half) {
    for (int row = 0; row < 2; ++row) {
      EXPECT_EQ((memory.address(0, 0, {row, half}) - first) % unit, 0);
      EXPECT_EQ((memory.address(1, 1, {row, half}) - first) % unit, 0);
    }
  }
}

TEST(expert_memory, copies_go_between_rows_and_staging_and_touch_nothing_else) {
  std::mt19937_64 random(1);
  for (std::byte& byte : storage) byte = static_cast<std::byte>(random());
  expert_memory memory(1, 4, rows);
  memory.register_layer(0, std::vector<ballast_tensor>{{at(0), 24, 32}, {at(24), 7, 32}});
  memory.allocate_staging(2);
  const auto before = storage;
  const expert_copy in[] = {{0, {0, -1}, {1, 1}}};
  memory.copy(in);
  EXPECT_EQ(memory.hash(0, {1, 1}), memory.hash(0, {0, -1}));
  EXPECT_EQ(storage, before);
  const expert_copy out[] = {{0, {1, 1}, {2, -1}}};
  memory.copy(out);
  for (std::size_t i = 0; i < storage.size(); ++i) {
    const bool target = i >= 64 && i < 64 + 31;
    ASSERT_EQ(storage[i], before[target ? i - 64 : i]) << "byte " << i;
  }
}

TEST(expert_memory, hash_is_that_of_the_tensors_in_order_wherever_they_lie) {
  for (std::size_t i = 0; i < storage.size(); ++i) storage[i] = static_cast<std::byte>(i * 31);
  expert_memory memory(1, 4, rows);
  memory.register_layer(0, std::vector<ballast_tensor>{{at(0), 24, 32}, {at(24), 7, 32}});
  const std::uint64_t expected =
      combine_hash(combine_hash(0, hash_bytes_host(at(32), 24, 1)), hash_bytes_host(at(56), 7, 2));
  EXPECT_EQ(memory.hash(0, {1, -1}), expected);
  for (std::size_t byte = 0; byte < 31; ++byte) {
    storage[32 + byte] ^= std::byte{64};
    EXPECT_NE(memory.hash(0, {1, -1}), expected) << "byte " << byte;
    storage[32 + byte] ^= std::byte{64};
  }
  storage[63] ^= std::byte{64};  // between the rows
  EXPECT_EQ(memory.hash(0, {1, -1}), expected);
}

TEST(expert_memory, staging_that_cannot_be_allocated_is_refused_with_its_size) {
#if defined(__SANITIZE_ADDRESS__)
  GTEST_SKIP() << "AddressSanitizer ends the program instead of throwing std::bad_alloc";
#endif
  expert_memory memory(1, 4, rows);
  memory.register_layer(
      0, std::vector<ballast_tensor>{{at(0), std::size_t{1} << 46, std::size_t{1} << 46}});
  try {
    memory.allocate_staging(1024);
    FAIL() << "2^57 bytes were allocated";
  } catch (const error& e) {
    EXPECT_EQ(e.status(), BALLAST_ERROR_MEMORY);
    EXPECT_STREQ(e.what(), "2 x 1024 staging rows of 70368744177664 bytes cannot be allocated");
  }
}

TEST(expert_memory, expected_hashes_are_by_layer_and_expert) {
  expert_memory memory(3, 5, rows);
  ASSERT_EQ(memory.hashes().size(), 15u);
  memory.hashes()[2 * 5 + 3] = 77;
  EXPECT_EQ(memory.hash_of_expert(2, 3), 77u);
  EXPECT_EQ(memory.hash_of_expert(0, 0), 0u);
}

}  // namespace
}  // namespace ballast
