#include "policies/align.hpp"

#include <gtest/gtest.h>

#include <algorithm>

#include "policies/placement.hpp"
#include "tests/policies/synthetic_loads.hpp"

namespace ballast {
namespace {

using ints = std::vector<std::int32_t>;

ints aligned(int ranks, const ints& current, ints next) {
  slot_aligner aligner(1 + std::max(*std::max_element(next.begin(), next.end()),
                                    *std::max_element(current.begin(), current.end())));
  const std::size_t count = current.size() / static_cast<std::size_t>(ranks);
  for (int rank = 0; rank < ranks; ++rank) {
    aligner.align(std::span(current).subspan(rank * count, count),
                  std::span(next).subspan(rank * count, count));
  }
  return next;
}

// vLLM's preserve_intragpu_slots.
TEST(slot_aligner, reproduces_published_vectors) {
  EXPECT_EQ(aligned(2, {0, 1, 2, 3, 4, 5, 6, 7}, {1, 5, 0, 4, 6, 2, 7, 3}),
            (ints{0, 1, 5, 4, 2, 3, 6, 7}));
  EXPECT_EQ(aligned(2, {0, 1, 0, 2, 3, 4, 5, 6, 1, 2}, {0, 5, 4, 0, 1, 6, 2, 3, 2, 1}),
            (ints{0, 1, 0, 5, 4, 3, 2, 6, 1, 2}));
  EXPECT_EQ(aligned(3, {0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3}, {0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 0}),
            (ints{0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3}));
}

TEST(slot_aligner, newcomers_take_empty_slots_before_those_of_leaving_experts) {
  EXPECT_EQ(aligned(1, {0, 1, -1, 2, -1}, {5, 1, 6, 7, -1}), (ints{7, 1, 5, -1, 6}));
  EXPECT_EQ(aligned(1, {-1, -1, -1}, {4, -1, 3}), (ints{4, 3, -1}));
  EXPECT_EQ(aligned(1, {0, 1, 2}, {-1, 2, -1}), (ints{-1, -1, 2}));
}

TEST(slot_aligner, permutes_and_keeps_for_any_ranks) {
  for (std::uint64_t seed = 1; seed <= 300; ++seed) {
    testing::generator random(seed);
    const int slots = 1 + static_cast<int>(random.below(9));
    const int experts = 1 + static_cast<int>(random.below(12));
    slot_aligner aligner(experts);
    for (int rank = 0; rank < 5; ++rank) {  // scratch memory must come back clean
      ints current(static_cast<std::size_t>(slots)), next(current.size());
      for (auto& expert : current)
        expert = static_cast<std::int32_t>(random.below(experts + 1)) - 1;
      for (auto& expert : next) expert = static_cast<std::int32_t>(random.below(experts + 1)) - 1;
      ints result = next;
      aligner.align(current, result);
      for (int slot = 0; slot < slots; ++slot) {
        const auto expert = current[slot];
        if (expert == no_expert || result[slot] == expert) continue;
        // It left, or other slots that held it already took all of its replicas.
        const auto planned = std::count(next.begin(), next.end(), expert);
        std::ptrdiff_t kept = 0;
        for (int k = 0; k < slots; ++k) kept += result[k] == expert && current[k] == expert ? 1 : 0;
        EXPECT_EQ(kept, planned) << "seed " << seed;
      }
      std::sort(result.begin(), result.end());
      std::sort(next.begin(), next.end());
      EXPECT_EQ(result, next) << "seed " << seed;
    }
  }
}

}  // namespace
}  // namespace ballast
