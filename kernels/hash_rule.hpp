#pragma once
// The arithmetic of kernels/hash.hpp, word by word, for hash_host.cpp and hash.cu.

#include <cstddef>
#include <cstdint>

#include "kernels/host_device.hpp"

namespace ballast {

constexpr std::uint64_t hash_key_step = 0x9e3779b97f4a7c15ull;

/// Key of word `index` under `seed`.
BALLAST_HOST_DEVICE inline std::uint64_t hash_key(std::uint64_t seed, std::uint64_t index) {
  return seed + (index + 1) * hash_key_step;
}

/// What a word adds to the sum.
BALLAST_HOST_DEVICE inline std::uint64_t hash_term(std::uint64_t word, std::uint64_t key) {
  const std::uint64_t v = word ^ key;
  return (v & 0xffffffffu) * (v >> 32) + ((word + (word >> 32)) << 32);
}

BALLAST_HOST_DEVICE inline std::uint64_t hash_avalanche(std::uint64_t x) {
  x ^= x >> 30;
  x *= 0xbf58476d1ce4e5b9ull;
  x ^= x >> 27;
  x *= 0x94d049bb133111ebull;
  return x ^ (x >> 31);
}

/// The hash of `bytes` bytes whose words summed to `sum`.
BALLAST_HOST_DEVICE inline std::uint64_t hash_of_sum(std::uint64_t sum, std::uint64_t bytes,
                                                     std::uint64_t seed) {
  return hash_avalanche(sum ^ (bytes * 0xc2b2ae3d27d4eb4full) ^ seed);
}

/// combine_hash of kernels/hash.hpp.
BALLAST_HOST_DEVICE inline std::uint64_t hash_combine(std::uint64_t hash,
                                                      std::uint64_t tensor_hash) {
  return hash_avalanche((hash + hash_key_step) ^ ((tensor_hash << 17) | (tensor_hash >> 47)));
}

/// The seed of an expert's tensor `tensor`, so that equal tensors of an expert differ in their
/// hashes.
BALLAST_HOST_DEVICE inline std::uint64_t hash_seed_of_tensor(int tensor) {
  return static_cast<std::uint64_t>(tensor) + 1;
}

}  // namespace ballast
