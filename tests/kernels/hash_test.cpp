// The hash against a scalar reference written from its definition in the header, against golden
// values, and against the faults it must see.
#include "kernels/hash.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <set>
#include <vector>

#include "kernels/hash_sum.hpp"

namespace ballast {
namespace {

using bytes = std::vector<unsigned char>;

// kernels/hash.hpp, word by word and byte by byte.
std::uint64_t by_definition(const unsigned char* data, std::size_t size, std::uint64_t seed) {
  std::uint64_t sum = 0;
  for (std::size_t i = 0; i * 8 < size; ++i) {
    std::uint64_t w = 0;
    for (std::size_t b = 0; b < 8 && i * 8 + b < size; ++b)
      w |= static_cast<std::uint64_t>(data[i * 8 + b]) << (8 * b);
    const std::uint64_t v = w ^ (seed + (i + 1) * 0x9e3779b97f4a7c15ull);
    sum += (v & 0xffffffffull) * (v >> 32) + (((w & 0xffffffffull) + (w >> 32)) << 32);
  }
  std::uint64_t x = sum ^ (static_cast<std::uint64_t>(size) * 0xc2b2ae3d27d4eb4full) ^ seed;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
  return x ^ (x >> 31);
}

std::uint64_t hash_of(const bytes& data, std::uint64_t seed = 1) {
  return hash_bytes_host(data.data(), data.size(), seed);
}

bytes random_bytes(std::size_t size, std::uint64_t seed) {
  std::mt19937_64 random(seed);
  bytes data(size);
  for (unsigned char& byte : data) byte = static_cast<unsigned char>(random());
  return data;
}

bytes counting_bytes(std::size_t size) {
  bytes data(size);
  for (std::size_t i = 0; i < size; ++i) data[i] = static_cast<unsigned char>(i * 7 + 1);
  return data;
}

TEST(hash, golden_values_hold) {
  EXPECT_EQ(hash_bytes_host(nullptr, 0, 0), 0x0ull);
  EXPECT_EQ(hash_bytes_host(nullptr, 0, 1), 0x5692161d100b05e5ull);
  EXPECT_EQ(hash_of(counting_bytes(1)), 0x2cf4fe144063502dull);
  EXPECT_EQ(hash_of(counting_bytes(7)), 0xcefd3a77bacde887ull);
  EXPECT_EQ(hash_of(counting_bytes(8)), 0x9ad283eed80fbdb6ull);
  EXPECT_EQ(hash_of(counting_bytes(17), 64), 0xd342f95c957b2b39ull);
  EXPECT_EQ(hash_of(counting_bytes(4096), 0xffffffffffffffffull), 0xc5a2a7f4c4593b8eull);
  EXPECT_EQ(hash_of(bytes(1000003, 0), 2), 0x48b511e302884c37ull);
  EXPECT_EQ(combine_hash(0, 0), 0xe220a8397b1dcdafull);
  EXPECT_EQ(combine_hash(0x0123456789abcdefull, 0xfedcba9876543210ull), 0x6fdcc466e3e180b9ull);
}

TEST(hash, every_length_is_as_defined) {
  const bytes data = random_bytes(1024 + 16, 1);
  for (std::size_t size = 0; size <= data.size(); ++size) {
    ASSERT_EQ(hash_bytes_host(data.data(), size, size), by_definition(data.data(), size, size))
        << size << " bytes";
  }
}

TEST(hash, large_data_is_as_defined_at_every_alignment) {
  const bytes data = random_bytes((1 << 20) + 64, 2);
  for (std::size_t offset = 0; offset < 64; offset += offset < 17 ? 1 : 13) {
    const std::size_t size = (1 << 20) - 3 * offset;
    ASSERT_EQ(hash_bytes_host(data.data() + offset, size, 9),
              by_definition(data.data() + offset, size, 9))
        << "offset " << offset;
  }
}

TEST(hash, every_variant_of_this_processor_sums_alike) {
  const std::span<const hash_sum_variant> variants = hash_sum_variants();
  ASSERT_FALSE(variants.empty());
  const hash_sum_variant& plain = variants.back();
  EXPECT_STREQ(plain.name, "plain");
  bytes data = random_bytes(8 * 300 + 64, 10);
  for (int content = 0; content < 2; ++content) {
    for (std::size_t words = 0; words <= 300; words += words < 70 ? 1 : 23) {
      for (const std::size_t start : {0u, 1u, 8u, 17u, 63u}) {
        for (const std::uint64_t first : {std::uint64_t{0}, std::uint64_t{3}, ~std::uint64_t{5}}) {
          const std::uint64_t expected = plain.sum(data.data() + start, words, 77, first);
          for (const hash_sum_variant& variant : variants) {
            ASSERT_EQ(variant.sum(data.data() + start, words, 77, first), expected)
                << variant.name << ", " << words << " words from byte " << start << ", first "
                << first;
          }
        }
      }
    }
    std::ranges::fill(data, static_cast<unsigned char>(0xff));  // every sum of halves carries
  }
}

TEST(hash, pieces_in_any_order_give_the_hash_of_the_whole) {
  std::mt19937_64 random(11);
  for (const std::size_t size : {1u, 7u, 8u, 9u, 64u, 1000u, 4096u, 100003u}) {
    const bytes data = random_bytes(size, size);
    for (int round = 0; round < 20; ++round) {
      std::vector<std::size_t> cuts = {0, size};
      for (int cut = 0; cut < round; ++cut) cuts.push_back(random() % (size / 8 + 1) * 8);
      std::ranges::sort(cuts);
      std::vector<std::size_t> order(cuts.size() - 1);
      for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
      std::ranges::shuffle(order, random);
      std::uint64_t sum = 0;
      for (const std::size_t i : order)
        sum += hash_sum_host(data.data() + cuts[i], cuts[i + 1] - cuts[i], 5, cuts[i]);
      ASSERT_EQ(finish_hash(sum, size, 5), hash_of(data, 5)) << size << " bytes, round " << round;
    }
  }
}

TEST(hash, every_flipped_bit_shows) {
  for (const std::size_t size : {1u, 3u, 8u, 13u, 64u, 200u}) {
    bytes data = random_bytes(size, size);
    const std::uint64_t right = hash_of(data);
    for (std::size_t bit = 0; bit < size * 8; ++bit) {
      data[bit / 8] ^= static_cast<unsigned char>(1u << (bit % 8));
      ASSERT_NE(hash_of(data), right) << "bit " << bit << " of " << size << " bytes";
      data[bit / 8] ^= static_cast<unsigned char>(1u << (bit % 8));
    }
  }
}

TEST(hash, flipped_bits_show_in_words_that_meet_their_key) {
  // Where a half of the keyed word is 0 or 1 or all ones, the product says little of the other
  // half, or cancels it.
  constexpr std::uint64_t seed = 3;
  constexpr std::uint64_t halves[] = {0, 1, 2, 0x7fffffff, 0x80000000, 0xfffffffe, 0xffffffff};
  for (std::uint64_t i = 0; i < 50; ++i) {
    const std::uint64_t key = seed + (i + 1) * 0x9e3779b97f4a7c15ull;
    for (const std::uint64_t low : halves) {
      for (const std::uint64_t high : halves) {
        bytes data = random_bytes(400, i);
        const std::uint64_t word = (high << 32 | low) ^ key;
        for (int b = 0; b < 8; ++b) data[8 * i + b] = static_cast<unsigned char>(word >> (8 * b));
        const std::uint64_t right = hash_of(data, seed);
        for (std::size_t bit = 64 * i; bit < 64 * (i + 1); ++bit) {
          data[bit / 8] ^= static_cast<unsigned char>(1u << (bit % 8));
          ASSERT_NE(hash_of(data, seed), right)
              << "bit " << bit << " in word " << i << ", keyed " << high << ":" << low;
          data[bit / 8] ^= static_cast<unsigned char>(1u << (bit % 8));
        }
      }
    }
  }
}

TEST(hash, swapped_words_show) {
  bytes data = random_bytes(256, 4);
  const std::uint64_t right = hash_of(data);
  for (std::size_t i = 0; i < 32; ++i) {
    for (std::size_t j = 0; j < i; ++j) {
      std::swap_ranges(data.begin() + 8 * i, data.begin() + 8 * i + 8, data.begin() + 8 * j);
      ASSERT_NE(hash_of(data), right) << "words " << i << " and " << j;
      std::swap_ranges(data.begin() + 8 * i, data.begin() + 8 * i + 8, data.begin() + 8 * j);
    }
  }
}

TEST(hash, cut_extended_and_shifted_data_shows) {
  const bytes data = random_bytes(100, 6);
  std::set<std::uint64_t> seen;
  for (std::size_t size = 0; size <= 100; ++size)
    seen.insert(hash_bytes_host(data.data(), size, 1));
  for (std::size_t start = 1; start < 100; ++start)
    seen.insert(hash_bytes_host(data.data() + start, 100 - start, 1));
  EXPECT_EQ(seen.size(), 101u + 99u);
}

TEST(hash, zeros_of_every_length_differ) {
  const bytes zeros(300, 0);
  std::set<std::uint64_t> seen;
  for (std::size_t size = 0; size <= 300; ++size)
    seen.insert(hash_bytes_host(zeros.data(), size, 1));
  EXPECT_EQ(seen.size(), 301u);
}

TEST(hash, seeds_give_different_hashes) {
  const bytes data = random_bytes(77, 7);
  std::set<std::uint64_t> seen;
  for (std::uint64_t seed = 0; seed < 1000; ++seed) seen.insert(hash_of(data, seed));
  EXPECT_EQ(seen.size(), 1000u);
}

TEST(hash, single_bit_changes_spread_over_all_bits_of_the_hash) {
  bytes data = random_bytes(64, 8);
  const std::uint64_t right = hash_of(data);
  std::vector<int> changed(64, 0);
  for (std::size_t bit = 0; bit < 512; ++bit) {
    data[bit / 8] ^= static_cast<unsigned char>(1u << (bit % 8));
    const std::uint64_t difference = hash_of(data) ^ right;
    for (int b = 0; b < 64; ++b) changed[b] += difference >> b & 1;
    data[bit / 8] ^= static_cast<unsigned char>(1u << (bit % 8));
  }
  // 512 throws of a coin: within 6 standard deviations (11.3) of 256.
  for (int b = 0; b < 64; ++b) EXPECT_NEAR(changed[b], 256, 68) << "bit " << b;
}

TEST(hash, order_of_tensors_counts) {
  EXPECT_NE(combine_hash(combine_hash(0, 1), 2), combine_hash(combine_hash(0, 2), 1));
  EXPECT_NE(combine_hash(0, 5), 5u);
  EXPECT_NE(combine_hash(combine_hash(0, 5), 0), combine_hash(0, 5));
}

}  // namespace
}  // namespace ballast
