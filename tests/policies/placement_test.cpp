#include "policies/placement.hpp"

#include <gtest/gtest.h>

#include <numeric>
#include <stdexcept>

namespace ballast {
namespace {

using ints = std::vector<std::int32_t>;

TEST(slot_layout, ragged_ranks_own_consecutive_slots_and_may_own_none) {
  const slot_layout layout = slot_layout::ragged(ints{2, 0, 3});
  EXPECT_EQ(layout.ranks(), 3);
  EXPECT_EQ(layout.slots(), 5);
  EXPECT_EQ(layout.first(2), 2);
  EXPECT_EQ(layout.count(1), 0);
  const ints expected = {0, 0, 2, 2, 2};
  for (int slot = 0; slot < 5; ++slot) EXPECT_EQ(layout.rank_of(slot), expected[slot]);
  EXPECT_FALSE(layout.is_uniform());
  EXPECT_TRUE(slot_layout::uniform(3, 2).is_uniform());
  EXPECT_EQ(slot_layout::uniform(3, 2), slot_layout::ragged(ints{2, 2, 2}));
}

TEST(slot_layout, impossible_sizes_are_refused) {
  EXPECT_THROW(slot_layout::uniform(0, 1), std::invalid_argument);
  EXPECT_THROW(slot_layout::uniform(1, 0), std::invalid_argument);
  EXPECT_THROW(slot_layout::uniform(1 << 16, 1 << 16), std::invalid_argument);
  EXPECT_THROW(slot_layout::ragged({}), std::invalid_argument);
  EXPECT_THROW(slot_layout::ragged(ints{1, -1}), std::invalid_argument);
  EXPECT_THROW(slot_layout::ragged(ints{1 << 30, 1}), std::invalid_argument);
  EXPECT_THROW(placement(0, 1, slot_layout::uniform(1, 1)), std::invalid_argument);
  EXPECT_THROW(placement(1, 0, slot_layout::uniform(1, 1)), std::invalid_argument);
}

TEST(placement, new_one_is_empty) {
  placement fresh(2, 3, slot_layout::uniform(2, 2));
  EXPECT_EQ(ints(fresh.experts_of(1).begin(), fresh.experts_of(1).end()), ints(4, no_expert));
  EXPECT_EQ(fresh.version(1), 0u);
  fresh.bump_version(1);
  EXPECT_EQ(fresh.version(1), 1u);
  EXPECT_EQ(fresh.version(0), 0u);
  EXPECT_EQ(why_illegal(fresh, false), "layer 0 expert 0: is in no slot");
}

TEST(placement, initial_one_fills_usable_slots_in_turn_and_leaves_spare_ones_empty) {
  const placement initial =
      initial_placement(1, 3, slot_layout::ragged(ints{3, 2, 2}), ints{2, 0, 2});
  const auto experts = initial.experts_of(0);
  const auto shares = initial.shares_of(0);
  EXPECT_EQ(ints(experts.begin(), experts.end()), (ints{0, 1, -1, -1, -1, 2, 0}));
  EXPECT_EQ(ints(shares.begin(), shares.end()), (ints{32768, 65536, 0, 0, 0, 65536, 32768}));
  EXPECT_EQ(why_illegal(initial, false), "");
}

TEST(placement, initial_one_refuses_slots_that_do_not_fit) {
  const slot_layout layout = slot_layout::uniform(2, 2);
  EXPECT_THROW(initial_placement(1, 5, layout, ints{2, 2}), std::invalid_argument);
  EXPECT_THROW(initial_placement(1, 2, layout, ints{3, 1}), std::invalid_argument);
  EXPECT_THROW(initial_placement(1, 2, layout, ints{2, -1}), std::invalid_argument);
  EXPECT_THROW(initial_placement(1, 2, layout, ints{2}), std::invalid_argument);
}

TEST(shares, equal_ones_sum_to_one_and_the_lowest_slots_get_the_rest) {
  for (int replicas = 1; replicas <= 97; ++replicas) {
    const ints experts(static_cast<std::size_t>(replicas), 0);
    ints shares(experts.size());
    set_equal_shares(experts, 1, shares);
    EXPECT_EQ(std::accumulate(shares.begin(), shares.end(), 0), share_one) << replicas;
    EXPECT_TRUE(std::is_sorted(shares.rbegin(), shares.rend())) << replicas;
    EXPECT_LE(shares.front() - shares.back(), 1) << replicas;
  }
}

TEST(why_illegal, names_what_is_wrong) {
  const slot_layout layout = slot_layout::uniform(2, 2);
  const placement good = initial_placement(2, 3, layout, ints{2, 2});
  EXPECT_EQ(why_illegal(good, false), "");
  const auto why = [&](auto&& change, bool allow_duplicates = false) {
    placement bad = good;
    change(bad);
    return why_illegal(bad, allow_duplicates);
  };
  EXPECT_EQ(why([](placement& p) { p.experts_of(1)[2] = 3; }),
            "layer 1 slot 2: expert 3 is not in [-1, 3)");
  EXPECT_EQ(why([](placement& p) { p.experts_of(1)[2] = -2; }),
            "layer 1 slot 2: expert -2 is not in [-1, 3)");
  EXPECT_EQ(why([](placement& p) { p.experts_of(0)[1] = 0; }),
            "layer 0 slot 1: expert 0 is twice on rank 0");
  EXPECT_EQ(why([](placement& p) { p.shares_of(0)[1] = 65537; }),
            "layer 0 slot 1: share 65537 is not in [0, 65536]");
  EXPECT_EQ(why([](placement& p) { p.shares_of(0)[1] = 65535; }),
            "layer 0 expert 1: shares sum to 65535, not to 65536");
  EXPECT_EQ(why([](placement& p) { p.shares_of(0)[0] = 65536; }),
            "layer 0 expert 0: shares sum to more than 65536, not to 65536");
  EXPECT_EQ(why([](placement& p) { p.experts_of(0)[1] = -1; }),
            "layer 0 slot 1: share 65536 of an empty slot is not 0");
  EXPECT_EQ(why([](placement& p) { p.experts_of(0)[1] = -1, p.shares_of(0)[1] = 0; }),
            "layer 0 expert 1: is in no slot");
  const auto twice = [](placement& p) {
    std::swap(p.experts_of(0)[1], p.experts_of(0)[3]),
        std::swap(p.shares_of(0)[1], p.shares_of(0)[3]);
  };
  EXPECT_NE(why(twice), "");
  EXPECT_EQ(why(twice, true), "");
}

// vLLM's compute_logical_maps and commit vectors.
TEST(list_replicas, reproduces_published_maps) {
  const auto lists = [](const ints& experts, int count) {
    const replica_lists found = list_replicas(experts, count);
    return std::pair(found.first_replica, found.slot_of_replica);
  };
  EXPECT_EQ(lists({0, 1, -1, 2, 3, -1}, 4), (std::pair(ints{0, 1, 2, 3, 4}, ints{0, 1, 3, 4})));
  EXPECT_EQ(lists({3, -1, 2, 1, 0, -1}, 4), (std::pair(ints{0, 1, 2, 3, 4}, ints{4, 3, 2, 0})));
  EXPECT_EQ(lists({0, 1, 2, 0}, 3), (std::pair(ints{0, 2, 3, 4}, ints{0, 3, 1, 2})));
  EXPECT_EQ(lists({1, 2, 0, 1}, 3), (std::pair(ints{0, 1, 3, 4}, ints{2, 0, 3, 1})));
  EXPECT_EQ(lists({}, 1), (std::pair(ints{0, 0}, ints{})));
}

}  // namespace
}  // namespace ballast
