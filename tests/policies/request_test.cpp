#include <gtest/gtest.h>

#include <stdexcept>
#include <string>

#include "tests/policies/scenario.hpp"

namespace ballast {
namespace {

using testing::scenario;
using testing::uniform_scenario;
using ints = std::vector<std::int32_t>;

TEST(request, unplannable_requests_are_named) {
  const auto why = [](auto&& change) {
    scenario s = uniform_scenario(testing::log_normal_loads(1, 2, 8), 2, 8, 4, 3);
    change(s);
    const std::string text = why_unplannable(s.get());
    EXPECT_THROW(make_plan(s.get()), std::invalid_argument);
    return text;
  };
  EXPECT_EQ(why([](scenario& s) { s.request.policy = "best"; }), "policy: best is unknown");
  EXPECT_EQ(why([](scenario& s) { s.loads.pop_back(); }),
            "loads: 15 values for 2 layers of 8 experts");
  EXPECT_EQ(why([](scenario& s) { s.loads[11] = -4; }), "loads: layer 1 expert 3: -4 is negative");
  EXPECT_EQ(why([](scenario& s) { s.loads[2] = (std::int64_t{1} << 62) + 1; }),
            "loads: layer 0 expert 2: 4611686018427387905 is above 2^62");
  EXPECT_EQ(why([](scenario& s) { s.loads[2] = std::int64_t{1} << 62; }).substr(0, 27),
            "loads: layer 0 expert 2: 46");
  std::vector<std::int64_t> series(3 * 16, 5);
  EXPECT_EQ(why([&](scenario& s) { s.request.series = std::span(series).first(40); }),
            "series: 40 values for 2 layers of 8 experts");
  series[2 * 16 + 11] = -4;
  EXPECT_EQ(why([&](scenario& s) { s.request.series = series; }),
            "series: window 2 layer 1 expert 3: -4 is negative");
  EXPECT_EQ(why([&](scenario& s) { s.request.deviations = std::span(series).first(17); }),
            "deviations: 17 values for 2 layers of 8 experts");
  series[9] = -(std::int64_t{1} << 62) - 1;
  EXPECT_EQ(why([&](scenario& s) { s.request.deviations = std::span(series).first(16); }),
            "deviations: value 9: -4611686018427387905 is beyond 2^62");
  EXPECT_EQ(why([](scenario& s) {
              s.request.usable_slots = {2, 2, 2, 1};
            }),
            "usable_slots: 7 in all are fewer than the 8 experts");
  EXPECT_EQ(why([](scenario& s) {
              s.request.usable_slots = {3, 3, 3};
            }),
            "usable_slots: given for 3 ranks, the placement has 4");
  EXPECT_EQ(why([](scenario& s) {
              s.request.usable_slots = {3, 3, 4, 3};
            }),
            "usable_slots: rank 2: 4 is not in [0, 3]");
  EXPECT_EQ(why([](scenario& s) { s.request.groups = 0; }), "groups: 0 is less than 1");
  EXPECT_EQ(why([](scenario& s) { s.request.groups = 3; }),
            "groups: 8 experts do not divide into 3 groups");
  EXPECT_EQ(why([](scenario& s) { s.request.threads = 0; }), "threads: 0 is less than 1");
  EXPECT_EQ(why([](scenario& s) { s.request.expert_bytes = -1; }), "expert_bytes: -1 is negative");
  EXPECT_EQ(why([](scenario& s) { s.request.limits.max_moves_per_layer = -2; }),
            "max_moves_per_layer: -2 is less than -1");
  EXPECT_EQ(why([](scenario& s) { s.request.limits.max_bytes_per_rank = -2; }),
            "max_bytes_per_rank: -2 is less than -1");
  EXPECT_EQ(why([](scenario& s) { s.cluster.ranks.pop_back(); }),
            "cluster: 3 ranks, the placement has 4");
  EXPECT_EQ(why([](scenario& s) { s.current.experts_of(1)[0] = 99; }),
            "current: layer 1 slot 0: expert 99 is not in [-1, 8)");
  EXPECT_EQ(why([](scenario& s) {
              s.request.policy = "deepseek-hierarchical", s.cluster = testing::even_cluster(2, 2);
            }),
            "groups: 1 do not divide over 2 nodes");
  EXPECT_EQ(why([](scenario& s) {
              s.request.policy = "deepseek-hierarchical", s.cluster.ranks[3].node = 1;
            }),
            "cluster: nodes do not have equally many consecutive ranks");
  EXPECT_EQ(why([](scenario& s) {
              s.request.policy = "deepseek-hierarchical", s.request.usable_slots = {3, 3, 3, 2};
            }),
            "usable_slots: not the same on every rank");
  EXPECT_EQ(why([](scenario& s) {
              s.request.compatible = true, s.request.usable_slots = {3, 3, 3, 2};
            }),
            "compatible: needs all slots of a rank usable or none, rank 3 has 2 of 3");
  EXPECT_EQ(
      why([](scenario& s) {  // seven slots on four ranks, which the published code asserts against
        s.current =
            initial_placement(2, 8, slot_layout::ragged(ints{3, 3, 2, 3}), ints{3, 3, 2, 3});
        s.request.compatible = true;
      }),
      "compatible: needs the same number of slots on every rank");
  plan_request nothing;
  EXPECT_EQ(why_unplannable(nothing), "current: no placement given");
  const placement none;
  nothing.current = &none;
  const cluster_map nobody;
  nothing.cluster = &nobody;
  EXPECT_EQ(why_unplannable(nothing), "current: layers 0 is less than 1");
}

}  // namespace
}  // namespace ballast
