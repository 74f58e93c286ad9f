#include <bit>
#include <cstring>

#include "kernels/hash.hpp"
#include "kernels/hash_rule.hpp"

// One function body, compiled for several instruction sets and chosen at load time. Sanitizers run
// before such a choice can, and other compilers spell it differently; there the baseline serves.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && \
    !defined(__SANITIZE_ADDRESS__)
#define BALLAST_MULTIVERSION __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define BALLAST_MULTIVERSION
#endif

namespace ballast {
namespace {

static_assert(std::endian::native == std::endian::little,
              "the hash is defined on little-endian words");

BALLAST_MULTIVERSION
std::uint64_t sum_words(const unsigned char* data, std::size_t words, std::uint64_t seed) {
  std::uint64_t sum = 0;
  for (std::size_t i = 0; i < words; ++i) {
    std::uint64_t word;
    std::memcpy(&word, data + i * 8, 8);
    sum += hash_term(word, hash_key(seed, i));
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
    sum += hash_term(word, hash_key(seed, words));
  }
  return hash_of_sum(sum, bytes, seed);
}

std::uint64_t combine_hash(std::uint64_t hash, std::uint64_t tensor_hash) {
  return hash_combine(hash, tensor_hash);
}

void hash_experts_host(const expert_shape& shape, const expert_rows& rows, std::int64_t experts,
                       std::uint64_t* hashes) {
  for (std::int64_t e = 0; e < experts; ++e) {
    std::uint64_t hash = 0;
    for (int t = 0; t < shape.tensors; ++t) {
      hash = hash_combine(hash, hash_bytes_host(address_of(shape, rows, e, t), shape.bytes[t],
                                                hash_seed_of_tensor(t)));
    }
    hashes[e] = hash;
  }
}

}  // namespace ballast
