#include <bit>
#include <cstring>

#include "kernels/hash.hpp"
#include "kernels/hash_rule.hpp"
#include "kernels/hash_sum.hpp"

namespace ballast {

static_assert(std::endian::native == std::endian::little,
              "the hash is defined on little-endian words");

std::uint64_t hash_sum_host(const void* data, std::size_t bytes, std::uint64_t seed,
                            std::uint64_t offset) {
  static const hash_sum_function sum_words = hash_sum_variants().front().sum;
  const auto* begin = static_cast<const unsigned char*>(data);
  const std::size_t words = bytes / 8;
  std::uint64_t sum = sum_words(begin, words, seed, offset / 8);
  if (const std::size_t tail = bytes % 8; tail != 0) {
    std::uint64_t word = 0;
    std::memcpy(&word, begin + words * 8, tail);
    sum += hash_term(word, hash_key(seed, offset / 8 + words));
  }
  return sum;
}

std::uint64_t finish_hash(std::uint64_t sum, std::uint64_t bytes, std::uint64_t seed) {
  return hash_of_sum(sum, bytes, seed);
}

std::uint64_t hash_bytes_host(const void* data, std::size_t bytes, std::uint64_t seed) {
  return finish_hash(hash_sum_host(data, bytes, seed, 0), bytes, seed);
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
