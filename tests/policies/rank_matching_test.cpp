#include "policies/rank_matching.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>

#include "tests/policies/synthetic_loads.hpp"

namespace ballast {
namespace {

using ints = std::vector<std::int32_t>;

ints matched(const ints& current, const ints& planned, int ranks, int experts) {
  const slot_layout layout = slot_layout::uniform(ranks, static_cast<int>(current.size()) / ranks);
  const ints usable(static_cast<std::size_t>(ranks), layout.count(0));
  ints result = planned;
  rank_matcher().match(layout, usable, current, experts, result);
  return result;
}

int kept(const ints& current, const ints& planned, const slot_layout& layout) {
  int sum = 0;
  for (int slot = 0; slot < layout.slots(); ++slot) {
    const int rank = layout.rank_of(slot);
    const auto first = current.begin() + layout.first(rank);
    const auto last = current.begin() + layout.first(rank + 1);
    sum += planned[slot] != no_expert && std::find(first, last, planned[slot]) != last ? 1 : 0;
  }
  return sum;
}

TEST(rank_matching, numbers_the_ranks_of_the_published_examples_as_well_as_published) {
  EXPECT_EQ(matched({0, 1, 2, 3, 4, 5, 6, 7, 0}, {6, 0, 7, 2, 0, 1, 5, 4, 3}, 3, 8),
            (ints{2, 0, 1, 5, 4, 3, 6, 0, 7}));
  const ints current = {0, 1, 2, 3, 4, 5, 6, 0};  // several numberings keep one expert everywhere
  const ints result = matched(current, {2, 1, 0, 4, 5, 6, 3, 0}, 4, 7);
  EXPECT_EQ(kept(current, result, slot_layout::uniform(4, 2)), 4);
}

// Against every permutation.
TEST(rank_matching, keeps_as_many_experts_as_any_numbering) {
  for (std::uint64_t seed = 1; seed <= 400; ++seed) {
    testing::generator random(seed);
    const int ranks = 1 + static_cast<int>(random.below(6));
    const bool ragged = random.below(3) == 0;
    ints usable(static_cast<std::size_t>(ranks));
    for (auto& count : usable) count = 1 + static_cast<int>(ragged ? random.below(2) : 1);
    const slot_layout layout = slot_layout::ragged(usable);
    const int experts = 3 + static_cast<int>(random.below(10));
    const auto draw = [&] {
      ints slots(static_cast<std::size_t>(layout.slots()));
      for (int rank = 0; rank < ranks; ++rank) {  // no expert twice on a rank
        std::int32_t expert = static_cast<std::int32_t>(random.below(experts));
        for (int slot = layout.first(rank); slot < layout.first(rank + 1); ++slot) {
          slots[slot] = random.below(8) == 0 ? no_expert : expert;
          expert = (expert + 1) % experts;
        }
      }
      return slots;
    };
    const ints current = draw();
    const ints planned = draw();
    ints result = planned;
    rank_matcher().match(layout, usable, current, experts, result);
    ints order(static_cast<std::size_t>(ranks));
    std::iota(order.begin(), order.end(), 0);
    int most = 0;
    do {
      ints moved(planned.size(), no_expert);
      bool possible = true;
      for (int part = 0; part < ranks && possible; ++part) {
        possible = layout.count(part) == layout.count(order[part]);
        for (int i = 0; possible && i < layout.count(part); ++i) {
          moved[layout.first(order[part]) + i] = planned[layout.first(part) + i];
        }
      }
      if (possible) most = std::max(most, kept(current, moved, layout));
    } while (std::next_permutation(order.begin(), order.end()));
    EXPECT_EQ(kept(current, result, layout), most) << "seed " << seed;
    ints sorted = planned;
    std::sort(sorted.begin(), sorted.end());
    ints sorted_result = result;
    std::sort(sorted_result.begin(), sorted_result.end());
    EXPECT_EQ(sorted_result, sorted) << "seed " << seed;
  }
}

}  // namespace
}  // namespace ballast
