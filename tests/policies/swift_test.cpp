#include "policies/swift.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <set>

#include "policies/balance.hpp"
#include "tests/policies/scenario.hpp"

namespace ballast {
namespace {

using ints = std::vector<std::int32_t>;
using longs = std::vector<std::int64_t>;

testing::scenario scene_of(const longs& loads, const ints& table, int ranks, bool compatible) {
  const int slots = static_cast<int>(table.size());
  testing::scenario s =
      testing::uniform_scenario(loads, 1, static_cast<int>(loads.size()), ranks, slots / ranks);
  std::ranges::copy(table, s.current.experts_of(0).begin());
  set_equal_shares(s.current.experts_of(0), s.current.experts(), s.current.shares_of(0));
  s.request.policy = "swift";
  s.request.compatible = compatible;
  return s;
}

ints planned(const longs& loads, const ints& table, int ranks, bool compatible) {
  testing::scenario s = scene_of(loads, table, ranks, compatible);
  const plan made = make_plan(s.get());
  return {made.target.experts_of(0).begin(), made.target.experts_of(0).end()};
}

const longs p1 = {90, 132, 40, 61, 104, 165, 39, 4};
const ints p1_table = {0, 1, 2, 3, 4, 5, 6, 7, 0, 1, 2, 3};
const longs p2 = {600, 560, 120, 120, 20, 10, 10, 10};
const ints p2_table = {0, 1, 6, 2, 3, 7, 4, 5, 0, 6, 7, 1};
const longs p3 = {100, 90, 1, 1, 50, 51, 50, 49};
const ints p3_table = {0, 1, 2, 3, 4, 5, 6, 7};

TEST(swift, reproduces_the_published_vectors_with_the_published_estimate) {
  EXPECT_EQ(planned(p1, p1_table, 4, true), (ints{4, 5, 6, 3, 4, 5, 1, 7, 0, 1, 2, 5}));
  EXPECT_EQ(planned(p2, p2_table, 4, true), (ints{0, 1, 3, 2, 3, 1, 4, 5, 0, 6, 7, 0}));
  EXPECT_EQ(planned(p3, p3_table, 4, true), (ints{2, 1, 0, 3, 7, 5, 6, 4}));
}

TEST(swift, needs_no_estimate_where_there_are_no_copies) {
  EXPECT_EQ(planned(p3, p3_table, 4, false), (ints{2, 1, 0, 3, 7, 5, 6, 4}));
}

double fullest(const longs& loads, const ints& experts, int ranks) {
  const slot_layout layout = slot_layout::uniform(ranks, static_cast<int>(experts.size()) / ranks);
  ints shares(experts.size());
  set_equal_shares(experts, static_cast<int>(loads.size()), shares);
  return static_cast<double>(fullest_rank_load(loads, experts, shares, layout)) / share_one;
}

TEST(swift, true_sizes_of_replicas_balance_no_worse_on_the_published_examples) {
  EXPECT_LE(fullest(p1, planned(p1, p1_table, 4, false), 4), 168.01);  // the published plan has 168
  EXPECT_LE(fullest(p2, planned(p2, p2_table, 4, false), 4), 540.01);  // and 540
}

TEST(swift, sends_at_most_one_expert_from_a_rank_to_another) {
  for (std::uint64_t seed = 1; seed <= 200; ++seed) {
    testing::generator random(seed);
    const int ranks = 4 + static_cast<int>(random.below(13));
    const int per_rank = 3 + static_cast<int>(random.below(4));
    const int experts = ranks * per_rank - static_cast<int>(random.below(ranks));
    testing::scenario s = testing::uniform_scenario(testing::log_normal_loads(seed, 1, experts), 1,
                                                    experts, ranks, per_rank);
    s.request.policy = "swift";
    const plan made = make_plan(s.get());
    // Every arrival has a holder of its own to come from: the experts that a rank holds now and
    // another receives, one each. Found by a matching of arrivals to senders.
    const slot_layout& layout = s.current.layout();
    for (int to = 0; to < ranks; ++to) {
      std::vector<std::set<int>> senders;  // of each arrival
      for (int slot = layout.first(to); slot < layout.first(to + 1); ++slot) {
        const std::int32_t expert = made.target.experts_of(0)[slot];
        std::set<int> holders;
        for (int old = 0; old < layout.slots(); ++old) {
          if (s.current.experts_of(0)[old] == expert) holders.insert(layout.rank_of(old));
        }
        if (holders.count(to) == 0) senders.push_back(holders);
      }
      std::map<int, int> taken;  // sender -> arrival
      for (int arrival = 0; arrival < static_cast<int>(senders.size()); ++arrival) {
        std::set<int> seen;
        const auto assign = [&](auto&& self, int which) -> bool {
          for (const int sender : senders[which]) {
            if (!seen.insert(sender).second) continue;
            const auto other = taken.find(sender);
            if (other == taken.end() || self(self, other->second)) {
              taken[sender] = which;
              return true;
            }
          }
          return false;
        };
        EXPECT_TRUE(assign(assign, arrival)) << "seed " << seed << " rank " << to;
      }
    }
  }
}

TEST(swift, keeps_a_layer_that_is_even_to_a_hundredth) {
  const longs loads = {100, 100, 100, 101};
  const ints table = {0, 1, 2, 3};
  EXPECT_EQ(planned(loads, table, 4, false), table);
}

}  // namespace
}  // namespace ballast
