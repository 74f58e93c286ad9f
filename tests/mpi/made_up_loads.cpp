#include "tests/mpi/made_up_loads.hpp"

namespace ballast {
namespace {

constexpr std::int64_t drift_steps = 16;  // popularity is drawn anew this often

std::uint64_t mix(std::uint64_t x) {
  x ^= x >> 30;
  x *= 0xbf58476d1ce4e5b9ull;
  x ^= x >> 27;
  x *= 0x94d049bb133111ebull;
  return x ^ (x >> 31);
}

}  // namespace

std::vector<std::int64_t> made_up_loads(std::uint64_t seed, std::int64_t step, int layers,
                                        int experts) {
  std::vector<std::int64_t> loads;
  for (int layer = 0; layer < layers; ++layer) {
    for (int expert = 0; expert < experts; ++expert) {
      const std::uint64_t key = seed * 1000003 + layer * 70001 + expert;
      const std::uint64_t popular =
          mix(key ^ (static_cast<std::uint64_t>(step / drift_steps) << 40));
      const std::uint64_t noise = mix(key + (static_cast<std::uint64_t>(step) << 20)) % 7;
      // 1000 / n with n even over 1..50: a few experts have most of the load.
      loads.push_back(static_cast<std::int64_t>(1000 / (1 + popular % 50) + noise));
    }
  }
  return loads;
}

std::int64_t part_of(std::int64_t count, std::int64_t salt, int rank, int ranks) {
  const std::int64_t distance = ((rank - salt) % ranks + ranks) % ranks;
  return count / ranks + (distance < count % ranks ? 1 : 0);
}

}  // namespace ballast
