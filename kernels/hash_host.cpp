#include <bit>
#include <cstring>

#include "kernels/hash.hpp"

// One function body, compiled for several instruction sets and chosen at load time. Sanitizers run
// before such a choice can, and other compilers spell it differently; there the baseline serves.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && !defined(__SANITIZE_ADDRESS__)
#define BALLAST_MULTIVERSION __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define BALLAST_MULTIVERSION
#endif

namespace ballast {
namespace {

static_assert(std::endian::native == std::endian::little, "the hash is defined on little-endian words");

constexpr std::uint64_t key_step = 0x9e3779b97f4a7c15ull;
constexpr std::uint64_t length_key = 0xc2b2ae3d27d4eb4full;

std::uint64_t avalanche(std::uint64_t x) {
  x ^= x >> 30;
  x *= 0xbf58476d1ce4e5b9ull;
  x ^= x >> 27;
  x *= 0x94d049bb133111ebull;
  return x ^ (x >> 31);
}

inline std::uint64_t term(std::uint64_t word, std::uint64_t key) {
  const std::uint64_t v = word ^ key;
  return (v & 0xffffffffu) * (v >> 32) + std::rotl(word, 32);
}

BALLAST_MULTIVERSION
std::uint64_t sum_words(const unsigned char* data, std::size_t words, std::uint64_t seed) {
  std::uint64_t sum = 0;
  for (std::size_t i = 0; i < words; ++i) {
    std::uint64_t word;
    std::memcpy(&word, data + i * 8, 8);
    sum += term(word, seed + (i + 1) * key_step);
  }
  return sum;
}

}  // namespace

std::uint64_t hash_bytes_host(const void* data, std::size_t bytes, std::uint64_t seed) {
  const auto* begin = static_cast<const unsigned char*>(data);
  const std::size_t words = bytes / 8;
  std::uint64_t sum = sum_words(begin, words, seed);
  if (const std::size_t tail = bytes % 8; tail != 0) {
    std::uint64_t word = 0;
    std::memcpy(&word, begin + words * 8, tail);
    sum += term(word, seed + (words + 1) * key_step);
  }
  return avalanche(sum ^ (bytes * length_key) ^ seed);
}

std::uint64_t combine_hash(std::uint64_t hash, std::uint64_t tensor_hash) {
  return avalanche((hash + key_step) ^ std::rotl(tensor_hash, 17));
}

}  // namespace ballast
