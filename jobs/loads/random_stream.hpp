#pragma once
// Random numbers that are a function of what they are for: every (seed, purpose, index, step) has a
// stream of its own, so that no draw depends on what was drawn elsewhere. Splitmix64 of Steele, Lea
// and Flood.

#include <cstdint>

#include "jobs/loads/portable_math.hpp"

namespace ballast {

class random_stream {
 public:
  random_stream(std::uint64_t seed, std::uint64_t purpose, std::uint64_t index, std::uint64_t step)
      : state_(scramble(scramble(scramble(scramble(seed + golden) ^ purpose) + index * golden) ^
                        step)) {}

  std::uint64_t next() { return scramble(state_ += golden); }

  /// In (0, 1), never an end: 52 random bits and a half.
  double uniform() { return (static_cast<double>(next() >> 12) + 0.5) * 0x1p-52; }

  double normal() { return normal_quantile(uniform()); }

  /// In [0, bound), bound >= 1 and below 2^32.
  std::uint64_t below(std::uint64_t bound) { return (next() >> 32) * bound >> 32; }

 private:
  static constexpr std::uint64_t golden = 0x9e3779b97f4a7c15ull;

  static constexpr std::uint64_t scramble(std::uint64_t x) {
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9ull;
    x = (x ^ x >> 27) * 0x94d049bb133111ebull;
    return x ^ x >> 31;
  }

  std::uint64_t state_;
};

}  // namespace ballast
