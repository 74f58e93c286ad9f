// The C interface of planning without a runtime: requests refused by field, layer and slot.
#include <gtest/gtest.h>

#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include "tests/runtime/api_plan.hpp"

namespace ballast::testing {
namespace {

TEST(api_plan, fields_out_of_range_are_named) {
  constexpr std::int64_t past_many = (std::int64_t{1} << 62) + 1;
  const auto refused = [](auto&& change) {
    question q(2, 8, 4, 3);
    change(q);
    return q.refusal();
  };
  EXPECT_EQ(refused([](auto&) {}), "accepted");
  EXPECT_EQ(refused([](auto& q) { q.request.layers = 0; }), "layers is 0, expected 1 to 4096");
  EXPECT_EQ(refused([](auto& q) { q.request.layers = 4097; }),
            "layers is 4097, expected 1 to 4096");
  EXPECT_EQ(refused([](auto& q) { q.request.experts = -3; }), "experts is -3, expected 1 to 65536");
  EXPECT_EQ(refused([](auto& q) { q.request.experts = 65537; }),
            "experts is 65537, expected 1 to 65536");
  EXPECT_EQ(refused([](auto& q) { q.request.ranks = 0; }), "ranks is 0, expected 1 to 16384");
  EXPECT_EQ(refused([](auto& q) { q.request.ranks = 16385; }),
            "ranks is 16385, expected 1 to 16384");
  EXPECT_EQ(refused([](auto& q) { q.request.slots_per_rank = 0; }),
            "slots_per_rank is 0, expected 1 to 1024");
  EXPECT_EQ(refused([](auto& q) { q.request.slots_per_rank = 1025; }),
            "slots_per_rank is 1025, expected 1 to 1024");
  EXPECT_EQ(refused([](auto& q) { q.request.groups = 0; }), "groups is 0, expected 1 to 8");
  EXPECT_EQ(refused([](auto& q) { q.request.groups = 9; }), "groups is 9, expected 1 to 8");
  EXPECT_EQ(refused([](auto& q) { q.request.threads = 0; }), "threads is 0, expected 1 to 256");
  EXPECT_EQ(refused([](auto& q) { q.request.threads = 257; }), "threads is 257, expected 1 to 256");
  EXPECT_EQ(refused([](auto& q) { q.request.max_moves = -2; }),
            "max_moves is -2, expected -1 to 4611686018427387904");
  EXPECT_EQ(refused([](auto& q) { q.request.max_bytes = past_many; }),
            "max_bytes is 4611686018427387905, expected -1 to 4611686018427387904");
  EXPECT_EQ(refused([](auto& q) { q.request.expert_bytes = -1; }),
            "expert_bytes is -1, expected 0 to 70368744177664");
  EXPECT_EQ(refused([](auto& q) { q.request.slots_per_rank = 1; }),
            "slots_per_rank 1 on 4 ranks are 4 slots, fewer than 8 experts");
  EXPECT_EQ(refused([](auto& q) { q.request.loads = nullptr; }), "loads is NULL");
  EXPECT_EQ(refused([](auto& q) { q.request.policy = "best"; }), "policy: best is unknown");
  EXPECT_EQ(refused([](auto& q) { q.loads[9] = -1; }), "loads: layer 1 expert 1: -1 is negative");
  EXPECT_EQ(refused([](auto& q) { q.loads[9] = past_many; }),
            "loads: layer 1 expert 1: 4611686018427387905 is above 2^62");
  EXPECT_EQ(refused([](auto& q) {
              q.loads[8] = q.loads[9] = std::int64_t{1} << 61;
              q.loads[10] = 1;
            }).find("loads: layer 1 expert"),
            0u);
  const topology_handle three = nodes_of(3, 1);
  EXPECT_EQ(refused([&](auto& q) { q.request.topology = three.get(); }),
            "topology has 3 ranks, the request 4");
}

TEST(api_plan, placements_and_shares_are_refused_by_layer_and_slot) {
  question q(1, 3, 2, 2);
  std::vector<std::int32_t> experts = {0, 1, 2, 0};
  std::vector<std::int32_t> shares = {65536, 65536, 65536, 0};
  q.request.placement = experts.data();
  q.request.shares = shares.data();
  EXPECT_EQ(q.refusal(), "accepted");
  experts[3] = 3;
  EXPECT_EQ(q.refusal(), "placement: layer 0, slot 3 holds expert 3, expected -1 to 2");
  experts[3] = -2;
  EXPECT_EQ(q.refusal(), "placement: layer 0, slot 3 holds expert -2, expected -1 to 2");
  experts[3] = -1;
  EXPECT_EQ(q.refusal(), "accepted");
  shares[3] = 5;
  EXPECT_EQ(q.refusal(), "placement: layer 0 slot 3: share 5 of an empty slot is not 0");
  shares = {65536, 65535, 65536, 0};
  EXPECT_EQ(q.refusal(), "placement: layer 0 expert 1: shares sum to 65535, not to 65536");
  experts = {0, 1, 0, 1};
  EXPECT_EQ(q.refusal().find("placement: layer 0 "), 0u);
  q.request.placement = nullptr;
  EXPECT_EQ(q.refusal(), "shares is given, expected no shares without a placement");
}

TEST(api_plan, null_and_structs_of_unknown_size_are_refused) {
  question q(1, 3, 2, 2);
  ballast_plan* none = nullptr;
  EXPECT_EQ(ballast_plan_create(nullptr, &none), BALLAST_ERROR_INVALID_ARGUMENT);
  EXPECT_STREQ(ballast_last_error(), "request is NULL");
  EXPECT_EQ(ballast_plan_create(&q.request, nullptr), BALLAST_ERROR_INVALID_ARGUMENT);
  EXPECT_STREQ(ballast_last_error(), "plan is NULL");
  for (const std::size_t size : {std::size_t{0}, sizeof(q.request) - 1, sizeof(q.request) + 1}) {
    q.request.struct_size = size;
    EXPECT_EQ(q.refusal().find("request.struct_size is " + std::to_string(size)), 0u);
  }
  q.request.struct_size = sizeof(q.request);
  const plan_handle plan = q.make();
  ballast_plan_summary summary = {};
  ballast_plan_layer layer = {};
  summary.moves = layer.moves = 77;
  EXPECT_EQ(ballast_plan_summarise(nullptr, &summary), BALLAST_ERROR_INVALID_ARGUMENT);
  EXPECT_STREQ(ballast_last_error(), "plan is NULL");
  EXPECT_EQ(ballast_plan_summarise(plan.get(), nullptr), BALLAST_ERROR_INVALID_ARGUMENT);
  EXPECT_STREQ(ballast_last_error(), "summary is NULL");
  EXPECT_EQ(ballast_plan_summarise(plan.get(), &summary), BALLAST_ERROR_INVALID_ARGUMENT)
      << "struct_size is 0";
  EXPECT_EQ(ballast_plan_layer_summary(nullptr, 0, &layer), BALLAST_ERROR_INVALID_ARGUMENT);
  EXPECT_EQ(ballast_plan_layer_summary(plan.get(), 0, nullptr), BALLAST_ERROR_INVALID_ARGUMENT);
  EXPECT_EQ(ballast_plan_layer_summary(plan.get(), 0, &layer), BALLAST_ERROR_INVALID_ARGUMENT)
      << "struct_size is 0";
  layer.struct_size = sizeof(layer);
  for (const int wrong : {-1, 1}) {
    EXPECT_EQ(ballast_plan_layer_summary(plan.get(), wrong, &layer),
              BALLAST_ERROR_INVALID_ARGUMENT);
    EXPECT_EQ(std::string(ballast_last_error()),
              "layer " + std::to_string(wrong) + " is not in 0..0");
  }
  EXPECT_EQ(summary.moves + layer.moves, 154);
  EXPECT_EQ(ballast_plan_placement(nullptr, nullptr, nullptr), BALLAST_ERROR_INVALID_ARGUMENT);
  EXPECT_EQ(ballast_plan_placement(plan.get(), nullptr, nullptr), BALLAST_OK);
}

}  // namespace
}  // namespace ballast::testing
