#pragma once
// Single layers for the tests of `flow`: random placements, and the smallest possible fullest rank
// by another method than the policy's.

#include <algorithm>
#include <bit>
#include <cstdint>
#include <vector>

#include "policies/placement.hpp"
#include "tests/policies/synthetic_loads.hpp"

namespace ballast::testing {

struct layer {
  slot_layout layout;
  std::vector<std::int64_t> loads;
  std::vector<std::int32_t> experts;  // [slots]
};

/// Every expert hosted, no duplicate on a rank, some slots empty; loads with ties, zeros and hot
/// experts.
inline layer random_layer(generator& random, int max_ranks, int max_experts) {
  const int ranks = 1 + static_cast<int>(random.below(max_ranks));
  const int experts = 1 + static_cast<int>(random.below(max_experts));
  std::vector<std::vector<std::int32_t>> held(static_cast<std::size_t>(ranks));
  for (std::int32_t expert = 0; expert < experts; ++expert) {
    held[random.below(ranks)].push_back(expert);
  }
  for (std::int64_t extra = random.below(2 * ranks + 1); extra > 0; --extra) {
    auto& slots = held[random.below(ranks)];
    const auto expert = static_cast<std::int32_t>(random.below(experts));
    if (std::find(slots.begin(), slots.end(), expert) == slots.end()) slots.push_back(expert);
  }
  std::vector<std::int32_t> counts;
  layer result;
  for (auto& slots : held) {
    for (std::int64_t empty = random.below(3); empty > 0; --empty) slots.push_back(no_expert);
    counts.push_back(static_cast<std::int32_t>(slots.size()));
    result.experts.insert(result.experts.end(), slots.begin(), slots.end());
  }
  result.layout = slot_layout::ragged(counts);
  const std::int64_t kind = random.below(5);
  for (int expert = 0; expert < experts; ++expert) {
    result.loads.push_back(kind == 0   ? random.below(2)
                           : kind == 1 ? random.below(4)
                           : kind == 2 ? (expert == 0 ? 12345 : random.below(100))
                                       : log_normal_load(random));
  }
  return result;
}

/// The fullest rank under the best shares is the largest average over sets of ranks of the load
/// that cannot leave the set. Here as numerator and denominator; at most 20 ranks.
struct ratio {
  std::int64_t load = 0;
  std::int64_t ranks = 1;
};

inline ratio smallest_maximum(const layer& now) {
  const int ranks = now.layout.ranks();
  std::vector<std::uint32_t> hosts(now.loads.size(), 0);
  for (int slot = 0; slot < now.layout.slots(); ++slot) {
    if (now.experts[slot] != no_expert) {
      hosts[now.experts[slot]] |= std::uint32_t{1} << now.layout.rank_of(slot);
    }
  }
  ratio best;
  for (std::uint32_t set = 1; set < std::uint32_t{1} << ranks; ++set) {
    ratio inside{0, std::popcount(set)};
    for (std::size_t expert = 0; expert < hosts.size(); ++expert) {
      if ((hosts[expert] & ~set) == 0) inside.load += now.loads[expert];
    }
    if (inside.load * best.ranks > best.load * inside.ranks) best = inside;
  }
  return best;
}

}  // namespace ballast::testing
