#pragma once
// The sums of kernels/hash.hpp on the host, written once for each instruction set that computes
// them fast, all with the same value. Compilers do not find the 32 x 32 bit multiplication in
// hash_rule.hpp's term and stay at a third of the speed.

#include <cstddef>
#include <cstdint>
#include <span>

namespace ballast {

/// Sum of the terms of `words` words whose first is word `first` of its tensor. Any alignment.
using hash_sum_function = std::uint64_t (*)(const unsigned char* data, std::size_t words,
                                            std::uint64_t seed, std::uint64_t first);

struct hash_sum_variant {
  const char* name;
  hash_sum_function sum;
};

/// Those that this processor runs, the fastest first; the last one is plain C++.
std::span<const hash_sum_variant> hash_sum_variants();

}  // namespace ballast
