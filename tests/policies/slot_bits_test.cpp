#include "policies/slot_bits.hpp"

#include <gtest/gtest.h>

#include <set>
#include <vector>

#include "tests/policies/synthetic_loads.hpp"

namespace ballast {
namespace {

std::vector<std::int32_t> members_of(const slot_bits& bits, int rank) {
  std::vector<std::int32_t> visited;
  bits.all().for_each_of(rank, [&](std::int32_t slot) { visited.push_back(slot); });
  return visited;
}

TEST(slot_bits, every_rank_visits_its_members_in_order) {
  for (const std::vector<std::int32_t>& counts :
       std::vector<std::vector<std::int32_t>>{{1}, {9, 9, 9}, {63, 0, 64, 1}, {65, 3, 200, 129}}) {
    const slot_layout layout = slot_layout::ragged(counts);
    testing::generator random(counts.size());
    slot_bits bits;
    slot_bits mirror;
    bits.clear(layout);
    mirror.clear(layout);
    std::set<std::int32_t> members;
    for (int change = 0; change < 600; ++change) {
      const auto slot = static_cast<std::int32_t>(random.below(layout.slots()));
      if (random.below(3) == 0) {
        bits.erase(slot);
        members.erase(slot);
      } else {
        bits.insert(slot);
        members.insert(slot);
      }
      ASSERT_EQ(bits.has(slot), members.contains(slot)) << slot;
      for (int rank = 0; rank < layout.ranks(); ++rank) {
        const std::vector<std::int32_t> expected(members.lower_bound(layout.first(rank)),
                                                 members.lower_bound(layout.first(rank + 1)));
        ASSERT_EQ(members_of(bits, rank), expected) << "rank " << rank;
      }
      if (change % 50 != 0) continue;
      bits.for_each_difference(mirror, [&](std::int32_t other) {
        ASSERT_NE(mirror.has(other), bits.has(other)) << other;
        if (bits.has(other)) {
          mirror.insert(other);
        } else {
          mirror.erase(other);
        }
      });
      for (std::int32_t other = 0; other < layout.slots(); ++other) {
        ASSERT_EQ(mirror.has(other), bits.has(other)) << other;
      }
    }
    bits.clear(layout);
    for (int rank = 0; rank < layout.ranks(); ++rank) EXPECT_TRUE(members_of(bits, rank).empty());
  }
}

}  // namespace
}  // namespace ballast
