// Per vector of words: load and key (xor), halves side by side (shuffle), multiply, two sums, and
// the next keys. The term's plain halves are added up as 32-bit lanes, of which the sum's upper
// half is all that counts.
//
// Measured on a Xeon (Sapphire Rapids) at 2.6 GHz, 2026-11-27, in tests/bench/README.md.
#include "kernels/hash_sum.hpp"

#include <array>
#include <cstring>

#include "kernels/hash_rule.hpp"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace ballast {
namespace {

std::uint64_t sum_plain(const unsigned char* data, std::size_t words, std::uint64_t seed,
                        std::uint64_t first) {
  std::uint64_t sum = 0;
  for (std::size_t i = 0; i < words; ++i) {
    std::uint64_t word;
    std::memcpy(&word, data + i * 8, 8);
    sum += hash_term(word, hash_key(seed, first + i));
  }
  return sum;
}

#if defined(__x86_64__)

constexpr long long keys_ahead(int words) {
  return static_cast<long long>(static_cast<std::uint64_t>(words) * hash_key_step);
}

std::uint64_t add_up(std::span<const std::uint64_t> products,
                     std::span<const std::uint32_t> halves) {
  std::uint64_t sum = 0;
  for (const std::uint64_t product : products) sum += product;
  for (const std::uint32_t half : halves) sum += std::uint64_t{half} << 32;
  return sum;
}

// With masks of all lanes, which cost nothing: the forms without read an uninitialised value in the
// headers of g++ 12, which then warns.
__attribute__((target("avx512f"))) inline __m512i product_of_halves(__m512i v) {
  return _mm512_maskz_mul_epu32(0xff, v, _mm512_maskz_shuffle_epi32(0xffff, v, _MM_PERM_CDAB));
}

// Two vectors at a time: their sums do not wait for each other.
__attribute__((target("avx512f"))) std::uint64_t sum_avx512(const unsigned char* data,
                                                            std::size_t words, std::uint64_t seed,
                                                            std::uint64_t first) {
  constexpr int lanes = 8;
  alignas(64) std::array<std::uint64_t, lanes> keys;
  for (int i = 0; i < lanes; ++i) keys[i] = hash_key(seed, first + i);
  __m512i key_a = _mm512_load_si512(keys.data());
  __m512i key_b = _mm512_add_epi64(key_a, _mm512_set1_epi64(keys_ahead(lanes)));
  const __m512i ahead = _mm512_set1_epi64(keys_ahead(2 * lanes));
  __m512i products_a = _mm512_setzero_si512();
  __m512i products_b = _mm512_setzero_si512();
  __m512i halves_a = _mm512_setzero_si512();
  __m512i halves_b = _mm512_setzero_si512();
  std::size_t i = 0;
  for (; i + 2 * lanes <= words; i += 2 * lanes) {
    const __m512i a = _mm512_loadu_si512(data + i * 8);
    const __m512i b = _mm512_loadu_si512(data + i * 8 + 64);
    const __m512i v_a = _mm512_xor_si512(a, key_a);
    const __m512i v_b = _mm512_xor_si512(b, key_b);
    products_a = _mm512_add_epi64(products_a, product_of_halves(v_a));
    products_b = _mm512_add_epi64(products_b, product_of_halves(v_b));
    halves_a = _mm512_add_epi32(halves_a, a);
    halves_b = _mm512_add_epi32(halves_b, b);
    key_a = _mm512_add_epi64(key_a, ahead);
    key_b = _mm512_add_epi64(key_b, ahead);
  }
  alignas(64) std::array<std::uint64_t, lanes> products;
  alignas(64) std::array<std::uint32_t, 2 * lanes> halves;
  _mm512_store_si512(products.data(), _mm512_add_epi64(products_a, products_b));
  _mm512_store_si512(halves.data(), _mm512_add_epi32(halves_a, halves_b));
  return add_up(products, halves) + sum_plain(data + i * 8, words - i, seed, first + i);
}

__attribute__((target("avx2"))) std::uint64_t sum_avx2(const unsigned char* data, std::size_t words,
                                                       std::uint64_t seed, std::uint64_t first) {
  constexpr int lanes = 4;
  alignas(32) std::array<std::uint64_t, lanes> keys;
  for (int i = 0; i < lanes; ++i) keys[i] = hash_key(seed, first + i);
  __m256i key_a = _mm256_load_si256(reinterpret_cast<const __m256i*>(keys.data()));
  __m256i key_b = _mm256_add_epi64(key_a, _mm256_set1_epi64x(keys_ahead(lanes)));
  const __m256i ahead = _mm256_set1_epi64x(keys_ahead(2 * lanes));
  __m256i products_a = _mm256_setzero_si256();
  __m256i products_b = _mm256_setzero_si256();
  __m256i halves_a = _mm256_setzero_si256();
  __m256i halves_b = _mm256_setzero_si256();
  std::size_t i = 0;
  for (; i + 2 * lanes <= words; i += 2 * lanes) {
    const auto* vectors = reinterpret_cast<const __m256i*>(data + i * 8);
    const __m256i a = _mm256_loadu_si256(vectors);
    const __m256i b = _mm256_loadu_si256(vectors + 1);
    const __m256i v_a = _mm256_xor_si256(a, key_a);
    const __m256i v_b = _mm256_xor_si256(b, key_b);
    products_a =
        _mm256_add_epi64(products_a, _mm256_mul_epu32(v_a, _mm256_shuffle_epi32(v_a, 0xb1)));
    products_b =
        _mm256_add_epi64(products_b, _mm256_mul_epu32(v_b, _mm256_shuffle_epi32(v_b, 0xb1)));
    halves_a = _mm256_add_epi32(halves_a, a);
    halves_b = _mm256_add_epi32(halves_b, b);
    key_a = _mm256_add_epi64(key_a, ahead);
    key_b = _mm256_add_epi64(key_b, ahead);
  }
  alignas(32) std::array<std::uint64_t, lanes> products;
  alignas(32) std::array<std::uint32_t, 2 * lanes> halves;
  _mm256_store_si256(reinterpret_cast<__m256i*>(products.data()),
                     _mm256_add_epi64(products_a, products_b));
  _mm256_store_si256(reinterpret_cast<__m256i*>(halves.data()),
                     _mm256_add_epi32(halves_a, halves_b));
  return add_up(products, halves) + sum_plain(data + i * 8, words - i, seed, first + i);
}

#endif

struct variant_list {
  std::array<hash_sum_variant, 3> of;
  std::size_t count = 0;

  variant_list() {
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx512f")) of[count++] = {"avx512", sum_avx512};
    if (__builtin_cpu_supports("avx2")) of[count++] = {"avx2", sum_avx2};
#endif
    of[count++] = {"plain", sum_plain};
  }
};

}  // namespace

std::span<const hash_sum_variant> hash_sum_variants() {
  static const variant_list variants;
  return {variants.of.data(), variants.count};
}

}  // namespace ballast
