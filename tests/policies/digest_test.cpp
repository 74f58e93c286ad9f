#include "policies/digest.hpp"

#include <gtest/gtest.h>

#include <set>
#include <string>
#include <vector>

namespace ballast {
namespace {

std::uint64_t digest_of(const std::vector<std::int32_t>& values) {
  digest_builder digest;
  digest.absorb(values);
  return digest.value();
}

TEST(digest, every_bit_of_every_value_counts_at_every_length) {
  for (int length = 1; length <= 33; ++length) {
    const std::vector<std::int32_t> zeros(static_cast<std::size_t>(length), 0);
    std::set<std::uint64_t> seen = {digest_of(zeros)};
    for (int i = 0; i < length; ++i) {
      for (int bit = 0; bit < 32; ++bit) {
        std::vector<std::int32_t> changed = zeros;
        changed[i] = static_cast<std::int32_t>(std::uint32_t{1} << bit);
        EXPECT_TRUE(seen.insert(digest_of(changed)).second) << length << " " << i << " " << bit;
      }
    }
  }
}

TEST(digest, order_length_and_type_count) {
  std::set<std::uint64_t> seen;
  const auto is_new = [&](auto&& fill) {
    digest_builder digest;
    fill(digest);
    return seen.insert(digest.value()).second;
  };
  using ints = std::vector<std::int32_t>;
  using longs = std::vector<std::int64_t>;
  EXPECT_TRUE(is_new([](digest_builder&) {}));
  EXPECT_TRUE(is_new([](digest_builder& d) { d.absorb(std::uint64_t{0}); }));
  EXPECT_TRUE(is_new([](digest_builder& d) { d.absorb(ints{}); }));
  EXPECT_TRUE(is_new([](digest_builder& d) { d.absorb(longs{}); }));
  EXPECT_TRUE(is_new([](digest_builder& d) { d.absorb(std::string_view("")); }));
  EXPECT_TRUE(is_new([](digest_builder& d) { d.absorb(ints{1, 2}); }));
  EXPECT_TRUE(is_new([](digest_builder& d) { d.absorb(ints{2, 1}); }));
  EXPECT_TRUE(is_new([](digest_builder& d) { d.absorb(ints{1}), d.absorb(ints{2}); }));
  EXPECT_TRUE(is_new([](digest_builder& d) { d.absorb(ints{1, 2, 0}); }));
  EXPECT_TRUE(is_new([](digest_builder& d) { d.absorb(longs{1, 2}); }));
  EXPECT_TRUE(is_new([](digest_builder& d) { d.absorb(longs{1 | std::int64_t{2} << 32}); }));
  EXPECT_TRUE(is_new([](digest_builder& d) { d.absorb(std::string_view("ab")); }));
  EXPECT_TRUE(is_new([](digest_builder& d) { d.absorb(std::string_view("ba")); }));
  EXPECT_TRUE(is_new([](digest_builder& d) { d.absorb(std::string_view("abcdefgh")); }));
  EXPECT_TRUE(is_new([](digest_builder& d) { d.absorb(std::string_view("abcdefghi")); }));
}

TEST(digest, swapping_any_two_values_of_a_span_shows) {
  std::vector<std::int32_t> values(24);
  for (int i = 0; i < 24; ++i) values[i] = i;
  std::set<std::uint64_t> seen = {digest_of(values)};
  for (int a = 0; a < 24; ++a) {
    for (int b = a + 1; b < 24; ++b) {
      std::vector<std::int32_t> swapped = values;
      std::swap(swapped[a], swapped[b]);
      EXPECT_TRUE(seen.insert(digest_of(swapped)).second) << a << " " << b;
    }
  }
}

}  // namespace
}  // namespace ballast
