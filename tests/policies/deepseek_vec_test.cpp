#include "policies/deepseek_vec.hpp"

#include <gtest/gtest.h>

#include <algorithm>

#include "policies/balance.hpp"
#include "tests/policies/published.hpp"
#include "tests/policies/scenario.hpp"

namespace ballast {
namespace {

using ints = std::vector<std::int32_t>;
using longs = std::vector<std::int64_t>;
using testing::published;

const longs readme_0 = {90, 132, 40, 61, 104, 165, 39, 4, 73, 56, 183, 86};
const longs readme_1 = {20, 107, 104, 64, 19, 197, 187, 157, 172, 86, 16, 27};

TEST(deepseek_vec, reproduces_the_published_vectors) {
  EXPECT_EQ(published(readme_0, {16, 1, 2, 8}, "deepseek-vec"),
            (ints{10, 7, 10, 6, 0, 2, 11, 4, 5, 4, 5, 9, 8, 3, 1, 1}));
  EXPECT_EQ(published(readme_1, {16, 1, 2, 8}, "deepseek-vec"),
            (ints{1, 10, 2, 4, 5, 0, 5, 11, 6, 3, 6, 7, 8, 7, 9, 8}));
  EXPECT_EQ(published(readme_0, {16, 4, 2, 8}, "deepseek-vec"),
            (ints{5, 7, 5, 6, 8, 4, 3, 4, 10, 2, 10, 9, 0, 1, 11, 1}));
  EXPECT_EQ(published(readme_1, {16, 4, 2, 8}, "deepseek-vec"),
            (ints{7, 10, 6, 11, 6, 8, 8, 9, 2, 4, 5, 0, 5, 1, 3, 1}));
}

// The published code gives expert 0 all 64 extra replicas of such a layer.
TEST(deepseek_vec, spreads_the_replicas_of_experts_that_tie) {
  longs loads(256, 10);
  for (int expert = 100; expert < 140; ++expert) loads[expert] = 90;
  for (const bool compatible : {false, true}) {
    testing::scenario s = testing::uniform_scenario(loads, 1, 256, 320, 1);
    s.request.policy = "deepseek-vec";
    s.request.compatible = compatible;
    const plan planned = make_plan(s.get());
    EXPECT_EQ(planned.layers[0].max_after, planned.layers[0].bound) << compatible;
  }
}

// Expert 0 is hot in one window of four, expert 1 a little in all of them. The sum of the loads
// would give the one extra replica to expert 0.
TEST(deepseek_vec, looks_at_every_window_and_not_at_their_sum) {
  const longs series = {90, 31, 1, 1,  //
                        2,  31, 1, 1,  //
                        2,  31, 1, 1,  //
                        2,  31, 1, 1};
  longs sums(4, 0);
  for (std::size_t i = 0; i < series.size(); ++i) sums[i % 4] += series[i];
  sums[0] += 100;  // an estimate that weighs the first window more
  testing::scenario s = testing::uniform_scenario(sums, 1, 4, 5, 1);
  s.request.policy = "deepseek-vec";
  s.request.compatible = true;  // a plan no better by the sum of the loads is not kept back
  const auto replicas = [&](std::int32_t expert) {
    const plan planned = make_plan(s.get());
    const auto experts = planned.target.experts_of(0);
    return std::count(experts.begin(), experts.end(), expert);
  };
  EXPECT_EQ(replicas(0), 2);
  s.request.series = series;  // 31 to 15.5 three times is 46.5, 90 to 45 is 45
  EXPECT_EQ(replicas(1), 2);
}

}  // namespace
}  // namespace ballast
