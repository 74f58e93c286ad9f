#include <algorithm>
#include <bit>
#include <cstdint>
#include <cstring>

#include "kernels/hash.hpp"
#include "kernels/hash_rule.hpp"
#include "kernels/hash_sum.hpp"

namespace ballast {

static_assert(std::endian::native == std::endian::little,
              "the hash is defined on little-endian words");

namespace {

std::uint64_t term_of(const unsigned char* word, std::size_t bytes, std::uint64_t key) {
  std::uint64_t padded = 0;
  std::memcpy(&padded, word, bytes);
  return hash_term(padded, key);
}

// Words before the first that begins a cache line: a vector that straddles two lines costs two
// loads, which takes a third off the speed in a cache.
std::size_t words_before_line(const unsigned char* data) {
  const auto address = reinterpret_cast<std::uintptr_t>(data);
  return address % 8 == 0 ? -address % 64 / 8 : 0;
}

}  // namespace

std::uint64_t hash_sum_host(const void* data, std::size_t bytes, std::uint64_t seed,
                            std::uint64_t offset) {
  static const hash_sum_function sum_words = hash_sum_variants().front().sum;
  const auto* begin = static_cast<const unsigned char*>(data);
  const std::uint64_t first = offset / 8;
  const std::size_t words = bytes / 8;
  const std::size_t head = std::min(words, words_before_line(begin));
  std::uint64_t sum = sum_words(begin + head * 8, words - head, seed, first + head);
  for (std::size_t i = 0; i < head; ++i)
    sum += term_of(begin + i * 8, 8, hash_key(seed, first + i));
  if (const std::size_t tail = bytes % 8; tail != 0)
    sum += term_of(begin + words * 8, tail, hash_key(seed, first + words));
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
