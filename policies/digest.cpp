#include "policies/digest.hpp"

#include <array>
#include <cstddef>

namespace ballast {

namespace {

__extension__ typedef unsigned __int128 uint128;

// Odd, with about as many ones as zeros (digits of pi and of the golden ratio).
constexpr std::uint64_t mix_a = 0x9e3779b97f4a7c15ull;
constexpr std::uint64_t mix_b = 0xa4093822299f31d1ull;
constexpr std::uint64_t mix_c = 0xbf58476d1ce4e5b9ull;

/// Multiply and fold: the upper half of the product depends on all bits of both factors, the lower
/// half keeps what the upper one loses.
std::uint64_t fold(std::uint64_t a, std::uint64_t b) {
  const uint128 product = static_cast<uint128>(a) * b;
  return static_cast<std::uint64_t>(product >> 64) ^ static_cast<std::uint64_t>(product);
}

/// Words of 8 bytes dealt to four lanes in turn: a multiplication takes several cycles to finish
/// but one can begin in each, so four independent chains run about four times as fast as one.
class lanes {
 public:
  explicit lanes(std::uint64_t seed)
      : lane_{seed ^ mix_a, seed ^ mix_b, seed ^ mix_c, seed + mix_a} {}

  template <class WordAt>
  void absorb(std::size_t words, WordAt&& word_at) {
    std::size_t i = 0;
    for (; i + 4 <= words; i += 4) {
      lane_[0] = fold(lane_[0] ^ word_at(i), mix_b);
      lane_[1] = fold(lane_[1] ^ word_at(i + 1), mix_b);
      lane_[2] = fold(lane_[2] ^ word_at(i + 2), mix_b);
      lane_[3] = fold(lane_[3] ^ word_at(i + 3), mix_b);
    }
    for (; i < words; ++i) lane_[i % 4] = fold(lane_[i % 4] ^ word_at(i), mix_b);
  }

  std::uint64_t joined() const {
    std::uint64_t state = lane_[0];
    for (int i = 1; i < 4; ++i) state = fold(state ^ lane_[i], mix_c) + lane_[i];
    return state;
  }

 private:
  std::array<std::uint64_t, 4> lane_;
};

/// Two values to a word, the first in the low half whatever the machine's byte order.
std::uint64_t pair_of(std::int32_t low, std::int32_t high) {
  return static_cast<std::uint32_t>(low) |
         static_cast<std::uint64_t>(static_cast<std::uint32_t>(high)) << 32;
}

enum span_kind : std::uint64_t { kind_int32 = 1, kind_int64 = 2, kind_text = 3 };

std::uint64_t header(std::size_t length, span_kind kind) {
  return static_cast<std::uint64_t>(length) << 2 | kind;
}

}  // namespace

void digest_builder::absorb(std::uint64_t value) {
  state_ = fold(state_ ^ value, mix_b) + mix_a;
  ++count_;
}

void digest_builder::absorb(std::span<const std::int32_t> values) {
  absorb(header(values.size(), kind_int32));
  lanes mix(state_);
  mix.absorb(values.size() / 2,
             [&](std::size_t i) { return pair_of(values[2 * i], values[2 * i + 1]); });
  absorb(mix.joined());
  if (values.size() % 2 != 0) absorb(pair_of(values.back(), 0));
}

void digest_builder::absorb(std::span<const std::int64_t> values) {
  absorb(header(values.size(), kind_int64));
  lanes mix(state_);
  mix.absorb(values.size(), [&](std::size_t i) { return static_cast<std::uint64_t>(values[i]); });
  absorb(mix.joined());
}

void digest_builder::absorb(std::string_view text) {
  absorb(header(text.size(), kind_text));
  for (std::size_t i = 0; i < text.size(); i += 8) {
    std::uint64_t word = 0;
    for (std::size_t k = 0; k < 8 && i + k < text.size(); ++k) {
      word |= static_cast<std::uint64_t>(static_cast<unsigned char>(text[i + k])) << (8 * k);
    }
    absorb(word);
  }
}

std::uint64_t digest_builder::value() const {
  std::uint64_t mixed = fold(state_ ^ count_ * mix_a, mix_c);
  mixed = (mixed ^ mixed >> 30) * mix_c;
  return mixed ^ mixed >> 31;
}

}  // namespace ballast
