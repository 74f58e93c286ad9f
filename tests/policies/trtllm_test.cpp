#include "policies/trtllm.hpp"

#include <gtest/gtest.h>

#include "tests/policies/published.hpp"
#include "tests/policies/scenario.hpp"

namespace ballast {
namespace {

using ints = std::vector<std::int32_t>;
using longs = std::vector<std::int64_t>;

ints counts(const longs& loads, int slots) {
  deepseek_shape shape;
  shape.experts = static_cast<std::int32_t>(loads.size());
  shape.capacity = {slots};
  shape.compatible = true;
  trtllm_policy policy(shape);
  policy.choose_counts(loads);
  return {policy.counts().begin(), policy.counts().end()};
}

TEST(trtllm, reproduces_the_published_replica_counts) {
  EXPECT_EQ(counts({10, 5, 2, 15, 8}, 9), (ints{2, 1, 1, 3, 2}));
  EXPECT_EQ(counts({1, 4, 2, 1}, 8), (ints{1, 4, 2, 1}));
  EXPECT_EQ(counts({0, 0, 0, 0}, 6), (ints{2, 2, 1, 1}));
  EXPECT_EQ(counts({0, 10, 0}, 4), (ints{1, 2, 1}));
  EXPECT_EQ(counts({3, 1, 4}, 3), (ints{1, 1, 1}));
}

TEST(trtllm, gives_the_highest_of_equals_the_next_replica) {
  EXPECT_EQ(counts({6, 6, 6, 1}, 5), (ints{1, 1, 2, 1}));
  EXPECT_EQ(counts({6, 6, 6, 1}, 6), (ints{1, 2, 2, 1}));
}

// Largest replica first, equal ones by id; each to the lightest rank with room, the lowest among
// equals: 15/3 three times, 10/2 and 8/2 twice, 5, 2 on three ranks of three slots.
TEST(trtllm, packs_the_largest_replica_first) {
  EXPECT_EQ(testing::published({10, 5, 2, 15, 8}, {9, 1, 1, 3}, "trtllm"),
            (ints{0, 3, 4, 0, 3, 4, 1, 3, 2}));
}

TEST(trtllm, without_load_uses_all_slots_evenly) {
  for (const bool compatible : {false, true}) {
    testing::scenario s = testing::uniform_scenario(longs(7, 0), 1, 7, 5, 4);
    s.request.policy = "trtllm";
    s.request.compatible = compatible;
    ints held(7, 0);
    const plan planned = make_plan(s.get());
    for (const std::int32_t expert : planned.target.experts_of(0)) ++held[expert];
    EXPECT_EQ(held, (ints{3, 3, 3, 3, 3, 3, 2})) << compatible;
  }
}

}  // namespace
}  // namespace ballast
