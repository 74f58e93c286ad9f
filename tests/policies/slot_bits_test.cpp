#include "policies/slot_bits.hpp"

#include <gtest/gtest.h>

#include <set>
#include <vector>

#include "tests/policies/synthetic_loads.hpp"

namespace ballast {
namespace {

TEST(slot_bits, any_range_visits_its_members_in_order) {
  for (const int slots : {1, 63, 64, 65, 200}) {
    testing::generator random(static_cast<std::uint64_t>(slots));
    slot_bits bits;
    bits.clear(slots);
    std::set<std::int32_t> members;
    for (int change = 0; change < 300; ++change) {
      const auto slot = static_cast<std::int32_t>(random.below(slots));
      if (random.below(3) == 0) {
        bits.erase(slot);
        members.erase(slot);
      } else {
        bits.insert(slot);
        members.insert(slot);
      }
      EXPECT_EQ(bits.has(slot), members.contains(slot));
    }
    for (std::int32_t first = 0; first <= slots; ++first) {
      for (std::int32_t end = first; end <= slots; ++end) {
        std::vector<std::int32_t> visited;
        bits.all().for_each(first, end, [&](std::int32_t slot) { visited.push_back(slot); });
        const std::vector<std::int32_t> expected(members.lower_bound(first),
                                                 members.lower_bound(end));
        ASSERT_EQ(visited, expected) << slots << " slots, " << first << " to " << end;
      }
    }
    bits.clear(slots);
    bits.all().for_each(0, slots, [](std::int32_t slot) { ADD_FAILURE() << slot; });
  }
}

}  // namespace
}  // namespace ballast
