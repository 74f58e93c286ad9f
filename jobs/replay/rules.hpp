#pragma once
// What the weights and activations of a replay are, element by element: compiled once for the host
// and once for the GPU, so that either can check every byte that the other made.

#include <math.h>

#include <cstddef>
#include <cstdint>

#ifdef __CUDACC__
#define BALLAST_REPLAY_RULE __host__ __device__ inline
#else
#define BALLAST_REPLAY_RULE inline
#endif

namespace ballast {

enum class weight_content {
  bytes,    ///< 64 random bits per word
  ternary,  ///< floats of -1, 0 and 1, for expert FFNs that are exact (ffn.hpp)
};

BALLAST_REPLAY_RULE std::uint64_t mix_weight(std::uint64_t x) {
  x ^= x >> 30;
  x *= 0xbf58476d1ce4e5b9ull;
  x ^= x >> 27;
  x *= 0x94d049bb133111ebull;
  return x ^ (x >> 31);
}

/// The bits of a float: three times the random number's upper half, halved 16 times, is 0, 1 or 2
/// in equal parts.
BALLAST_REPLAY_RULE std::uint32_t ternary_weight(std::uint32_t random) {
  const std::uint32_t third = ((random >> 16) * 3) >> 16;
  return third == 0 ? 0xbf800000u : third == 1 ? 0u : 0x3f800000u;
}

/// The contents of one tensor of one expert.
struct weight_rule {
  std::uint64_t key;
  weight_content content;

  static weight_rule of(int layer, int expert, int tensor, weight_content content) {
    return {mix_weight((static_cast<std::uint64_t>(layer) << 40) ^
                       (static_cast<std::uint64_t>(expert) << 8) ^
                       static_cast<std::uint64_t>(tensor) ^ 0x42616c6c617374ull),
            content};
  }
  BALLAST_REPLAY_RULE std::uint64_t word(std::size_t i) const {
    const std::uint64_t random = mix_weight(key + (i + 1) * 0x9e3779b97f4a7c15ull);
    if (content == weight_content::bytes) return random;
    return static_cast<std::uint64_t>(ternary_weight(static_cast<std::uint32_t>(random >> 32)))
               << 32 |
           ternary_weight(static_cast<std::uint32_t>(random));
  }
};

constexpr int activation_max = 2;
constexpr float inner_max = 127;

/// Element i of a token's activations: an integer of -activation_max to activation_max.
BALLAST_REPLAY_RULE float activation_of(std::int64_t step, int layer, int rank, std::int64_t token,
                                        int i) {
  std::uint64_t x = (static_cast<std::uint64_t>(step) * 4096 + layer) * 0x9e3779b97f4a7c15ull +
                    (static_cast<std::uint64_t>(rank) << 40) +
                    static_cast<std::uint64_t>(token) * 0xc2b2ae3d27d4eb4full + i;
  x ^= x >> 29;
  x *= 0xbf58476d1ce4e5b9ull;
  return static_cast<float>(static_cast<int>((x >> 40) % (2 * activation_max + 1)) -
                            activation_max);
}

/// What lies between the two halves of an expert FFN.
BALLAST_REPLAY_RULE float inner_of(float gate, float up) {
  return fmaxf(-inner_max, fminf(inner_max, truncf(fmaxf(gate, 0.0f) * up / 64.0f)));
}

}  // namespace ballast
