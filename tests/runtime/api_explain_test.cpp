// Explanations through the C interface: the moves lead from the current placement to the planned
// one, their loads form one chain, and what does not fit is refused.
#include <gtest/gtest.h>

#include <memory>
#include <random>
#include <string>
#include <vector>

#include "runtime/ballast.h"

namespace ballast::testing {
namespace {

struct plan_deleter {
  void operator()(ballast_plan* plan) const { ballast_plan_destroy(plan); }
};

struct explained {
  ballast_plan_request request;
  std::vector<std::int64_t> loads;
  std::unique_ptr<ballast_plan, plan_deleter> plan;

  explained(const char* policy, std::int64_t max_moves) : loads(3 * 24) {
    std::mt19937_64 random(7);
    for (std::int64_t& load : loads) load = static_cast<std::int64_t>(1 + random() % 3000);
    ballast_plan_request_init(&request);
    request.layers = 3;
    request.experts = 24;
    request.ranks = 8;
    request.slots_per_rank = 4;
    request.loads = loads.data();
    request.policy = policy;
    request.max_moves = max_moves;
    ballast_plan* made = nullptr;
    EXPECT_EQ(ballast_plan_create(&request, &made), BALLAST_OK) << ballast_last_error();
    plan.reset(made);
  }

  ballast_plan_explanation explain(int layer) const {
    ballast_plan_explanation why;
    why.struct_size = sizeof(why);
    EXPECT_EQ(ballast_plan_explain(plan.get(), layer, &why), BALLAST_OK) << ballast_last_error();
    return why;
  }
  ballast_plan_move move(std::int64_t index) const {
    ballast_plan_move result;
    result.struct_size = sizeof(result);
    EXPECT_EQ(ballast_plan_read_move(plan.get(), index, &result), BALLAST_OK)
        << ballast_last_error();
    return result;
  }
};

TEST(api_explain, moves_lead_to_the_plan_and_their_loads_form_a_chain) {
  for (const char* policy : {"flow", "deepseek"}) {
    for (const std::int64_t max_moves : {0, 5, -1}) {
      const explained e(policy, max_moves);
      std::vector<std::int32_t> planned(3 * 32);
      ASSERT_EQ(ballast_plan_placement(e.plan.get(), planned.data(), nullptr), BALLAST_OK);
      for (int layer = 0; layer < 3; ++layer) {
        const ballast_plan_explanation why = e.explain(layer);
        EXPECT_EQ(why.layer, layer);
        EXPECT_LE(why.max_bound, why.max_after * (1 + 1e-9));
        EXPECT_LE(why.max_after, why.max_before * (1 + 1e-9));
        EXPECT_GE(why.max_after, why.mean * (1 - 1e-9));
        std::vector<std::int32_t> slots(32);
        for (int slot = 0; slot < 32; ++slot) slots[slot] = slot % 24;
        double max = why.max_reshared;
        int step = -1;
        for (std::int64_t i = 0; i < why.moves; ++i) {
          const ballast_plan_move move = e.move(i);
          EXPECT_EQ(slots[move.to_slot], move.displaced);
          slots[move.to_slot] = move.expert;
          EXPECT_EQ(move.to_rank, move.to_slot / 4);
          EXPECT_EQ(move.from_rank, move.from_slot / 4);
          // Without a topology all ranks are one island; the initial placement holds the source.
          EXPECT_EQ(move.link,
                    move.from_rank == move.to_rank ? BALLAST_LINK_LOCAL : BALLAST_LINK_ISLAND);
          if (move.step != step) {
            EXPECT_EQ(move.step, step + 1);
            EXPECT_EQ(move.max_before, max);
          }
          step = move.step;
          max = move.max_after;
        }
        EXPECT_EQ(step + 1, why.steps);
        EXPECT_TRUE(std::equal(slots.begin(), slots.end(), planned.begin() + layer * 32));
        EXPECT_NEAR(max, why.max_after, why.max_after * 1e-3);
      }
    }
  }
}

TEST(api_explain, what_does_not_fit_is_refused) {
  const explained e("flow", 4);
  ballast_plan_explanation why = {};
  ballast_plan_move move = {};
  move.struct_size = sizeof(move);
  EXPECT_EQ(ballast_plan_read_move(e.plan.get(), 0, &move), BALLAST_ERROR_STATE);
  EXPECT_STREQ(ballast_last_error(), "move 0: the layer explained last has 0");
  EXPECT_EQ(ballast_plan_explain(e.plan.get(), 0, &why), BALLAST_ERROR_INVALID_ARGUMENT)
      << "struct_size is 0";
  why.struct_size = sizeof(why);
  for (const int layer : {-1, 3}) {
    EXPECT_EQ(ballast_plan_explain(e.plan.get(), layer, &why), BALLAST_ERROR_INVALID_ARGUMENT);
    EXPECT_EQ(std::string(ballast_last_error()),
              "layer " + std::to_string(layer) + " is not in 0..2");
  }
  EXPECT_EQ(ballast_plan_explain(nullptr, 0, &why), BALLAST_ERROR_INVALID_ARGUMENT);
  EXPECT_EQ(ballast_plan_explain(e.plan.get(), 0, nullptr), BALLAST_ERROR_INVALID_ARGUMENT);
  const std::int64_t moves = e.explain(1).moves;
  EXPECT_GT(moves, 0);
  for (const std::int64_t index : {std::int64_t{-1}, moves})
    EXPECT_EQ(ballast_plan_read_move(e.plan.get(), index, &move), BALLAST_ERROR_STATE);
  EXPECT_EQ(ballast_plan_read_move(nullptr, 0, &move), BALLAST_ERROR_INVALID_ARGUMENT);
  EXPECT_EQ(ballast_plan_read_move(e.plan.get(), 0, nullptr), BALLAST_ERROR_INVALID_ARGUMENT);
  move.struct_size = sizeof(move) + 1;
  EXPECT_EQ(ballast_plan_read_move(e.plan.get(), 0, &move), BALLAST_ERROR_INVALID_ARGUMENT);
}

}  // namespace
}  // namespace ballast::testing
