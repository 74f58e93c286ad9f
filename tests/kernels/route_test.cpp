// Routing: whatever the mode, a token goes to a slot that holds its expert; shares are respected,
// and more evenly than by random draws; ranks, padding, shared columns and both id types are as the
// header says.
#include "kernels/route.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <set>
#include <vector>

#include "kernels/route_rule.hpp"

namespace ballast {
namespace {

constexpr std::int32_t one = 65536;
constexpr route_mode all_modes[] = {route_mode::shares, route_mode::local, route_mode::round_robin,
                                    route_mode::uniform, route_mode::rank_invariant};

// The tables of one layer, built from the expert and share of every slot.
struct layer_tables {
  std::vector<std::int32_t> first, slot, share_end;
  std::vector<std::int32_t> expert_of_slot;
  int experts;

  layer_tables(std::vector<std::int32_t> held, const std::vector<std::int32_t>& shares,
               int expert_count)
      : first{0}, expert_of_slot(std::move(held)), experts(expert_count) {
    for (int e = 0; e < experts; ++e) {
      std::int32_t end = 0;
      for (std::size_t s = 0; s < expert_of_slot.size(); ++s) {
        if (expert_of_slot[s] != e) continue;
        slot.push_back(static_cast<std::int32_t>(s));
        share_end.push_back(end += shares[s]);
      }
      first.push_back(static_cast<std::int32_t>(slot.size()));
    }
  }
  route_tables get() const { return {experts, first.data(), slot.data(), share_end.data()}; }
};

// One expert in slots 0..n-1 with these shares.
layer_tables one_expert(const std::vector<std::int32_t>& shares) {
  return layer_tables(std::vector<std::int32_t>(shares.size(), 0), shares, 1);
}

// Every slot holds a random expert or none; every expert's shares are random and sum to 65536 where
// it is hosted.
layer_tables random_tables(int experts, int slots, std::mt19937_64& random) {
  std::vector<std::int32_t> held(slots);
  std::vector<std::int32_t> shares(slots, 0);
  std::vector<int> last(experts, -1);
  std::vector<std::int32_t> left(experts, one);
  for (int s = 0; s < slots; ++s) held[s] = static_cast<std::int32_t>(random() % (experts + 1)) - 1;
  for (int s = 0; s < slots; ++s) {
    if (held[s] < 0) continue;
    shares[s] = static_cast<std::int32_t>(random() % (left[held[s]] + 1));
    left[held[s]] -= shares[s];
    last[held[s]] = s;
  }
  for (int e = 0; e < experts; ++e) {
    if (last[e] >= 0) shares[last[e]] += left[e];
  }
  return layer_tables(std::move(held), shares, experts);
}

struct place {
  std::vector<std::int32_t> node_of_rank;
  std::int32_t rows_per_rank;
  route_origin at(std::int32_t rank, std::int64_t step) const {
    return {rank, rows_per_rank, node_of_rank.data(), step};
  }
};
const place one_rank_each = {std::vector<std::int32_t>(64, 0), 1};

template <typename Id>
std::vector<Id> route_all(const std::vector<Id>& ids, std::int32_t columns, std::int32_t shared,
                          std::int64_t valid, const layer_tables& tables,
                          const route_origin& origin, route_mode mode) {
  std::vector<Id> slots(ids.size(), -77);
  route_host({ids.data(), sizeof(Id) == 8, columns, shared,
              static_cast<std::int64_t>(ids.size()) / columns, valid},
             tables.get(), origin, mode, slots.data());
  return slots;
}

// `tokens` tokens that all choose expert 0: how many each slot gets.
std::vector<int> tally(const layer_tables& tables, int tokens, const route_origin& origin,
                       route_mode mode) {
  const std::vector<std::int32_t> ids(tokens, 0);
  std::vector<int> got(tables.expert_of_slot.size(), 0);
  for (const std::int32_t slot : route_all(ids, 1, 0, tokens, tables, origin, mode)) ++got.at(slot);
  return got;
}

TEST(route, every_mode_finds_a_slot_that_holds_the_expert) {
  for (std::uint64_t seed = 0; seed < 200; ++seed) {
    std::mt19937_64 random(seed);
    const int experts = static_cast<int>(1 + random() % 12);
    const int rows = static_cast<int>(1 + random() % 5);
    const int ranks = static_cast<int>(1 + random() % 7);
    const layer_tables tables = random_tables(experts, rows * ranks, random);
    place where = {std::vector<std::int32_t>(ranks), rows};
    for (int r = 0; r < ranks; ++r) where.node_of_rank[r] = r / 2;
    std::vector<std::int32_t> ids(60 * 3);
    for (std::int32_t& id : ids) id = static_cast<std::int32_t>(random() % (experts + 3)) - 1;
    for (const route_mode mode : all_modes) {
      const auto origin = where.at(static_cast<std::int32_t>(random() % ranks),
                                   static_cast<std::int64_t>(random() >> 2));
      const auto slots = route_all(ids, 3, 0, 60, tables, origin, mode);
      for (std::size_t i = 0; i < ids.size(); ++i) {
        const bool hosted =
            ids[i] >= 0 && ids[i] < experts && tables.first[ids[i] + 1] > tables.first[ids[i]];
        ASSERT_EQ(slots[i] >= 0, hosted)
            << "seed " << seed << ", mode " << static_cast<int>(mode) << ", id " << ids[i];
        if (hosted) {
          ASSERT_EQ(tables.expert_of_slot.at(slots[i]), ids[i]) << "seed " << seed;
        } else {
          ASSERT_EQ(slots[i], -1) << "seed " << seed;
        }
      }
    }
  }
}

TEST(route, shares_are_kept_within_a_few_tokens) {
  const std::vector<std::vector<std::int32_t>> splits = {
      {32768, 32768},        {1, 65535},        {60000, 5536},
      {21846, 21845, 21845}, {100, 200, 65236}, {8192, 8192, 8192, 8192, 32768}};
  for (const auto& shares : splits) {
    const layer_tables tables = one_expert(shares);
    for (const int tokens : {1, 2, 10, 100, 1000, 10000}) {
      for (int start = 0; start < 50; ++start) {
        const auto got =
            tally(tables, tokens, one_rank_each.at(start, 1000 + 7 * start), route_mode::shares);
        for (std::size_t k = 0; k < shares.size(); ++k) {
          // An interval gets its length's part of a golden-ratio sequence to within about
          // log(tokens).
          const double expected = static_cast<double>(tokens) * shares[k] / one;
          ASSERT_LE(std::abs(got[k] - expected), 2 + 0.5 * std::log2(tokens))
              << tokens << " tokens, share " << shares[k];
        }
      }
    }
  }
}

TEST(route, shares_scatter_far_less_than_random_draws) {
  constexpr int tokens = 2000;
  constexpr std::int32_t share = 20000;
  const layer_tables tables = one_expert({share, one - share});
  std::mt19937_64 random(3);
  double by_route = 0;
  double by_draws = 0;
  for (int start = 0; start < 300; ++start) {
    const double expected = static_cast<double>(tokens) * share / one;
    const int got =
        tally(tables, tokens, one_rank_each.at(start % 64, start), route_mode::shares)[0];
    int drawn = 0;
    for (int t = 0; t < tokens; ++t) drawn += static_cast<std::int32_t>(random() >> 48) < share;
    by_route += (got - expected) * (got - expected);
    by_draws += (drawn - expected) * (drawn - expected);
  }
  EXPECT_LT(std::sqrt(by_route) * 10, std::sqrt(by_draws));
}

TEST(route, first_tokens_of_many_ranks_steps_and_experts_follow_the_shares_too) {
  // Otherwise small passes would all go to the same replica.
  constexpr std::int32_t share = 16384;
  const auto first_choice = [&](int rank, int step, int expert) {
    std::vector<std::int32_t> held, shares;
    for (int e = 0; e <= expert; ++e) {
      held.insert(held.end(), {e, e});
      shares.insert(shares.end(), {share, one - share});
    }
    const layer_tables tables(held, shares, expert + 1);
    return route_all<std::int32_t>({expert}, 1, 0, 1, tables, one_rank_each.at(rank, step),
                                   route_mode::shares)[0] %
               2 ==
           0;
  };
  int by_rank = 0, by_step = 0, by_expert = 0;
  constexpr int n = 2048;
  const place many = {std::vector<std::int32_t>(n, 0), 1};
  const layer_tables tables = one_expert({share, one - share});
  for (int i = 0; i < n; ++i) {
    by_rank += tally(tables, 1, many.at(i, 5), route_mode::shares)[0];
    by_step += first_choice(3, i, 0);
    if (i < 512) by_expert += first_choice(3, 5, i);
  }
  // A quarter, within 5 standard deviations of as many draws.
  EXPECT_NEAR(by_rank, n / 4, 98);
  EXPECT_NEAR(by_step, n / 4, 98);
  EXPECT_NEAR(by_expert, 512 / 4, 49);
}

TEST(route, replicas_without_a_share_are_never_chosen_by_shares) {
  const std::vector<std::vector<std::int32_t>> splits = {
      {0, one}, {one, 0}, {0, one, 0}, {0, 0, 30000, 0, 35536, 0}};
  for (const auto& shares : splits) {
    const layer_tables tables = one_expert(shares);
    for (int step = 0; step < 50; ++step) {
      for (const route_mode mode : {route_mode::shares, route_mode::rank_invariant}) {
        const auto got = tally(tables, 2000, one_rank_each.at(9, step), mode);
        for (std::size_t k = 0; k < shares.size(); ++k) {
          if (shares[k] > 0) continue;
          ASSERT_EQ(got[k], 0) << "replica " << k << ", step " << step;
        }
      }
    }
  }
}

TEST(route, local_prefers_the_rank_then_the_node_then_goes_by_shares) {
  // Six ranks of one row on three nodes; expert 0 everywhere but on rank 4 and 5's node.
  const place where = {{0, 0, 1, 1, 2, 2}, 1};
  const layer_tables tables({0, 0, 0, 1, 1, 1}, {20000, 20000, 25536, 20000, 20000, 25536}, 2);
  const std::vector<std::int32_t> ids(5000, 0);
  for (const std::int32_t rank : {0, 1, 2}) {
    const auto got = tally(tables, 5000, where.at(rank, 3), route_mode::local);
    EXPECT_EQ(got[rank], 5000) << "rank " << rank << " has the expert itself";
  }
  EXPECT_EQ(tally(tables, 5000, where.at(3, 3), route_mode::local)[2], 5000)
      << "rank 2 is the only one of the node";
  EXPECT_EQ(route_all(ids, 1, 0, 5000, tables, where.at(4, 3), route_mode::local),
            route_all(ids, 1, 0, 5000, tables, where.at(4, 3), route_mode::shares))
      << "nobody is near";
}

TEST(route, local_spreads_evenly_over_the_replicas_of_the_node) {
  const place where = {{0, 0, 0, 1}, 1};
  const layer_tables tables({1, 0, 0, 0}, {one, 1, 2, one - 3}, 2);
  const auto got = tally(tables, 5000, where.at(0, 3), route_mode::local);
  EXPECT_EQ(got, (std::vector<int>{0, 2500, 2500, 0}));
}

TEST(route, round_robin_visits_all_replicas_in_turn) {
  const layer_tables tables = one_expert({one, 0, 0, 0, 0});
  for (const int rank : {0, 1, 7}) {
    for (const std::int64_t step : {std::int64_t{0}, std::int64_t{3}, std::int64_t{1} << 40}) {
      const auto slots = route_all(std::vector<std::int32_t>(50, 0), 1, 0, 50, tables,
                                   one_rank_each.at(rank, step), route_mode::round_robin);
      for (std::size_t t = 1; t < slots.size(); ++t) ASSERT_EQ(slots[t], (slots[t - 1] + 1) % 5);
    }
  }
}

TEST(route, uniform_gives_every_replica_its_part_whatever_the_shares) {
  const layer_tables tables = one_expert({one, 0, 0, 0});
  for (int step = 0; step < 20; ++step) {
    for (const int count : tally(tables, 10000, one_rank_each.at(2, step), route_mode::uniform)) {
      ASSERT_NEAR(count, 2500, 217) << "step " << step;  // 5 standard deviations
    }
  }
}

TEST(route, rank_invariant_is_the_same_on_all_ranks_and_the_others_are_not) {
  const layer_tables tables = one_expert({20000, 20000, 25536});
  const std::vector<std::int32_t> ids(500, 0);
  for (const std::int64_t step : {0, 1, 17}) {
    for (const route_mode mode : all_modes) {
      std::set<std::vector<std::int32_t>> answers;
      for (int rank = 0; rank < 8; ++rank) {
        answers.insert(route_all(ids, 1, 0, 500, tables, one_rank_each.at(rank, step), mode));
      }
      EXPECT_EQ(answers.size() == 1, mode == route_mode::rank_invariant)
          << "mode " << static_cast<int>(mode);
    }
  }
}

TEST(route, choices_change_with_the_step_and_repeat_for_the_same_one) {
  const layer_tables tables = one_expert({20000, 20000, 25536});
  const place apart = {std::vector<std::int32_t>(8, 0), 1};
  const std::vector<std::int32_t> ids(500, 0);
  for (const route_mode mode : {route_mode::shares, route_mode::round_robin, route_mode::uniform,
                                route_mode::rank_invariant}) {
    const auto at = [&](std::int64_t step) {
      return route_all(ids, 1, 0, 500, tables, apart.at(5, step), mode);
    };
    EXPECT_EQ(at(7), at(7));
    EXPECT_NE(at(7), at(8)) << "mode " << static_cast<int>(mode);
  }
}

TEST(route, columns_of_a_token_and_batches_do_not_matter_only_the_token_index_does) {
  const layer_tables tables = one_expert({20000, 20000, 25536});
  for (const route_mode mode : all_modes) {
    const auto narrow = route_all(std::vector<std::int32_t>(100, 0), 1, 0, 100, tables,
                                  one_rank_each.at(5, 2), mode);
    const auto wide = route_all(std::vector<std::int32_t>(400, 0), 4, 0, 100, tables,
                                one_rank_each.at(5, 2), mode);
    for (int token = 0; token < 100; ++token) {
      for (int c = 0; c < 4; ++c) ASSERT_EQ(wide[4 * token + c], narrow[token]);
    }
  }
}

TEST(route, padding_and_ids_out_of_range_become_minus_one_and_shared_columns_are_copied) {
  using limits = std::numeric_limits<std::int64_t>;
  const layer_tables tables = one_expert({one});
  const std::vector<std::int64_t> ids = {
      0,
      -1,
      1,
      900,  // expert, padding, out of range | shared
      -2,
      0,
      limits::max(),
      -1,  //
      0,
      limits::min(),
      0,
      limits::max(),
      0,
      0,
      0,
      901,  // a padding row, shared column included
  };
  const std::vector<std::int64_t> expected = {0, -1, -1, 900,           -1, 0,  -1, -1,
                                              0, -1, 0,  limits::max(), -1, -1, -1, -1};
  for (const route_mode mode : all_modes) {
    EXPECT_EQ(route_all(ids, 4, 1, 3, tables, one_rank_each.at(0, 0), mode), expected)
        << "mode " << static_cast<int>(mode);
  }
}

TEST(route, experts_without_a_replica_become_minus_one) {
  const layer_tables tables({1, 1}, {one / 2, one / 2}, 3);
  for (const route_mode mode : all_modes) {
    const auto slots =
        route_all<std::int32_t>({0, 1, 2}, 3, 0, 1, tables, one_rank_each.at(1, 4), mode);
    EXPECT_EQ(slots[0], -1);
    EXPECT_GE(slots[1], 0);
    EXPECT_EQ(slots[2], -1);
  }
}

TEST(route, int64_ids_are_routed_as_int32_ids) {
  std::mt19937_64 random(8);
  const layer_tables tables = random_tables(7, 24, random);
  const place where = {{0, 0, 1, 1, 2, 2}, 4};
  std::vector<std::int32_t> narrow(999);
  for (std::int32_t& id : narrow) id = static_cast<std::int32_t>(random() % 9) - 1;
  const std::vector<std::int64_t> wide(narrow.begin(), narrow.end());
  for (const route_mode mode : all_modes) {
    const auto a = route_all(narrow, 3, 1, 300, tables, where.at(4, 12), mode);
    const auto b = route_all(wide, 3, 1, 300, tables, where.at(4, 12), mode);
    EXPECT_TRUE(std::equal(a.begin(), a.end(), b.begin(), b.end()))
        << "mode " << static_cast<int>(mode);
  }
}

// Passes of many ids take another way through the tables than passes of few.
TEST(route, every_pass_follows_the_rule_id_by_id) {
  std::mt19937_64 random(21);
  for (const int experts : {1, 2, 5, 64, 1024, 1025}) {
    for (const double replicas : {0.7, 1.3, 2.5, 6.0}) {
      const int rows = 1 + static_cast<int>(experts * replicas / 6);
      const layer_tables tables = random_tables(experts, 6 * rows, random);
      const place where = {{0, 0, 1, 1, 2, 2}, rows};
      for (const std::int64_t tokens : {1, 300, 3000}) {
        std::vector<std::int32_t> ids(static_cast<std::size_t>(tokens) * 3);
        for (std::int32_t& id : ids) id = static_cast<std::int32_t>(random() % (experts + 2)) - 1;
        for (const route_mode mode : all_modes) {
          const auto origin = where.at(static_cast<std::int32_t>(random() % 6),
                                       static_cast<std::int64_t>(random() >> 2));
          const auto slots = route_all(ids, 3, 0, tokens, tables, origin, mode);
          const std::vector<std::int64_t> wide_ids(ids.begin(), ids.end());
          const auto wide_slots = route_all(wide_ids, 3, 0, tokens, tables, origin, mode);
          const route_tables t = tables.get();
          for (std::size_t i = 0; i < ids.size(); ++i) {
            const std::int32_t expected = route_choice(route_replicas(t, ids[i]), origin, mode,
                                                       static_cast<std::int64_t>(i) / 3, ids[i]);
            ASSERT_EQ(slots[i], expected) << experts << " experts, mode " << static_cast<int>(mode)
                                          << ", token " << i / 3 << ", id " << ids[i];
            ASSERT_EQ(wide_slots[i], expected) << experts << " experts, int64";
          }
        }
      }
    }
  }
}

TEST(route, zero_tokens_touch_nothing) {
  const layer_tables tables = one_expert({one});
  for (const route_mode mode : all_modes) {
    std::int32_t guard = 5;
    route_host({nullptr, false, 2, 0, 0, 0}, tables.get(), one_rank_each.at(0, 0), mode, &guard);
    EXPECT_EQ(guard, 5);
  }
}

}  // namespace
}  // namespace ballast
