#include <gtest/gtest.h>

#include <algorithm>

#include "tests/policies/scenario.hpp"

namespace ballast {
namespace {

using testing::scenario;
using testing::uniform_scenario;
using ints = std::vector<std::int32_t>;

TEST(limits, move_limit_keeps_layers_that_exceed_it) {
  scenario s = uniform_scenario(testing::log_normal_loads(11, 6, 40), 6, 40, 8, 6);
  const plan free_plan = make_plan(s.get());
  ints moves;
  for (const layer_outcome& outcome : free_plan.layers) moves.push_back(outcome.moves);
  ints sorted = moves;
  std::sort(sorted.begin(), sorted.end());
  const std::int32_t limit = sorted[3];
  s.request.limits.max_moves_per_layer = limit;
  const plan limited = make_plan(s.get());
  for (int layer = 0; layer < 6; ++layer) {
    const bool kept =
        std::ranges::equal(limited.target.experts_of(layer), s.current.experts_of(layer));
    EXPECT_EQ(kept, moves[layer] > limit || moves[layer] == 0) << layer;
    EXPECT_EQ(limited.layers[layer].moves, kept ? 0 : moves[layer]);
  }
}

TEST(limits, byte_limit_holds_on_every_rank_and_takes_the_layers_that_gain_most) {
  scenario s = uniform_scenario(testing::log_normal_loads(12, 8, 40), 8, 40, 8, 6);
  const plan free_plan = make_plan(s.get());
  s.request.expert_bytes = 100;
  for (std::int64_t experts = 0; experts <= 48; experts += 4) {
    s.request.limits.max_bytes_per_rank = experts * 100 + 99;
    const plan limited = make_plan(s.get());
    std::vector<std::int64_t> received(8, 0);
    int best = 0;
    for (int layer = 0; layer < 8; ++layer) {
      const auto gain = [&](int l) {
        return free_plan.layers[l].max_before - free_plan.layers[l].max_after;
      };
      if (gain(layer) > gain(best)) best = layer;
      const auto before = s.current.experts_of(layer);
      const auto after = limited.target.experts_of(layer);
      for (int slot = 0; slot < 48; ++slot) {
        const auto held = before.subspan(slot / 6 * 6, 6);
        received[slot / 6] +=
            std::find(held.begin(), held.end(), after[slot]) == held.end() ? 1 : 0;
      }
    }
    EXPECT_LE(*std::max_element(received.begin(), received.end()), experts);
    if (experts >= 6) {
      EXPECT_TRUE(
          std::ranges::equal(limited.target.experts_of(best), free_plan.target.experts_of(best)));
    }
    if (experts == 48) {
      EXPECT_EQ(limited.target, free_plan.target);
    }
  }
}

}  // namespace
}  // namespace ballast
