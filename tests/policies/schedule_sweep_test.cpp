// Seeded sweeps over random pairs of placements, each replayed by the checker, and the checker
// itself: every kind of damage to a good schedule must be found.

#include <gtest/gtest.h>

#include <set>
#include <stdexcept>
#include <string>

#include "policies/digest.hpp"
#include "policies/schedule_rounds.hpp"
#include "tests/policies/schedule_checker.hpp"
#include "tests/policies/schedule_scenes.hpp"

namespace ballast {
namespace {

using namespace ballast::testing;

bool only_one_rank_has_slots(const scene& made) {
  int owners = 0;
  for (int rank = 0; rank < made.current.layout().ranks(); ++rank)
    owners += made.current.layout().count(rank) > 0;
  return owners == 1;
}

bool an_expert_that_moves_is_distrusted_everywhere(const scene& made) {
  std::set<std::pair<int, int>> bad;
  for (const slot_ref& one : made.distrusted) bad.emplace(one.layer, one.slot);
  for (int layer = 0; layer < made.current.layers(); ++layer) {
    const auto now = made.current.experts_of(layer), then = made.target.experts_of(layer);
    for (int slot = 0; slot < made.current.slots(); ++slot) {
      if (then[slot] == no_expert || then[slot] == now[slot]) continue;
      bool found = false;
      for (int s = 0; s < made.current.slots(); ++s)
        found |= now[s] == then[slot] && !bad.contains({layer, s});
      if (!found) return true;
    }
  }
  return false;
}

// Builds that are not for speed, of which one has sanitizers and one another compiler, try a part.
#if defined(__SANITIZE_ADDRESS__) || !defined(__OPTIMIZE__)
constexpr std::uint64_t part = 4;
#else
constexpr std::uint64_t part = 1;
#endif

TEST(schedule_sweep, every_schedule_keeps_its_promises) {
  int refused_swaps = 0, refused_sources = 0, empty = 0;
  for (std::uint64_t seed = 1; seed <= 3000 / part; ++seed) {
    scene made = random_scene(seed);
    made.connect();
    schedule result;
    try {
      result = make_schedule(made.request);
    } catch (const std::invalid_argument& error) {
      const std::string text = error.what();
      if (text.find("distrusted") != std::string::npos) {
        ASSERT_TRUE(an_expert_that_moves_is_distrusted_everywhere(made))
            << "seed " << seed << ": " << text;
        ++refused_sources;
      } else {
        ASSERT_NE(text.find("cannot change places"), std::string::npos)
            << "seed " << seed << ": " << text;
        ASSERT_EQ(std::min(made.request.staging_rows, made.request.receives_per_batch), 1)
            << "seed " << seed;
        ASSERT_TRUE(only_one_rank_has_slots(made) || !made.distrusted.empty())
            << "seed " << seed << ": " << text;
        ++refused_swaps;
      }
      continue;
    }
    ASSERT_FALSE(an_expert_that_moves_is_distrusted_everywhere(made)) << "seed " << seed;
    ASSERT_EQ(why_wrong(made.request, result), "") << "seed " << seed;
    ASSERT_EQ(result, make_schedule(made.request)) << "seed " << seed;
    empty += result.batches.empty();
  }
  EXPECT_GT(refused_sources, 0);
  EXPECT_GT(refused_swaps, 0);
  EXPECT_LT(empty, 400 / part);
}

TEST(schedule_sweep, swaps_inside_ranks_work_with_one_staging_row) {
  for (std::uint64_t seed = 1; seed <= 2000 / part; ++seed) {
    scene made = tight_scene(seed);
    made.connect();
    ASSERT_EQ(why_wrong(made.request, make_schedule(made.request)), "") << "seed " << seed;
  }
}

std::uint64_t digest_of(const schedule& made) {
  digest_builder digest;
  for (const scheduled_move& move : made.moves)
    for (const std::int32_t value :
         {move.layer, move.expert, move.source_slot, move.target_slot, move.round, move.forwards,
          move.staging_row, static_cast<std::int32_t>(move.way)})
      digest.absorb(static_cast<std::uint64_t>(value));
  for (const slot_release& one : made.releases)
    digest.absorb(static_cast<std::uint64_t>(one.layer) << 32 | one.slot);
  for (const batch& one : made.batches)
    digest.absorb(static_cast<std::uint64_t>(one.move_count) << 32 | one.release_count << 1 |
                  one.after_previous_commit);
  return digest.value();
}

TEST(schedule_sweep, schedules_are_the_same_on_every_machine) {
  digest_builder digest;
  for (std::uint64_t seed = 1; seed <= 200; ++seed) {
    scene made = random_scene(seed);
    made.distrusted.clear();
    made.request.staging_rows = 2;
    made.request.receives_per_batch += 1;
    made.connect();
    digest.absorb(digest_of(make_schedule(made.request)));
  }
  EXPECT_EQ(digest.value(), 0x7f3f17ce0be51f47ull);
}

TEST(schedule_rounds, direct_transfers_need_as_many_rounds_as_the_busiest_rank_has_peers) {
  for (std::uint64_t seed = 1; seed <= 500; ++seed) {
    dice roll(seed);
    const int ranks = roll.between(1, 20);
    std::vector<scheduling::transfer> transfers(roll.between(0, 120));
    std::vector<std::set<int>> sends(ranks), receives(ranks);
    for (auto& one : transfers) {
      one.source_rank = roll.below(ranks);
      one.target_rank = roll.below(ranks);
      if (one.source_rank == one.target_rank) continue;
      sends[one.source_rank].insert(one.target_rank);
      receives[one.target_rank].insert(one.source_rank);
    }
    std::size_t degree = transfers.empty() ? 0 : 1;
    for (int rank = 0; rank < ranks; ++rank)
      degree = std::max({degree, sends[rank].size(), receives[rank].size()});
    EXPECT_EQ(scheduling::assign_rounds(transfers, ranks), static_cast<std::int32_t>(degree))
        << "seed " << seed;
    std::set<std::tuple<int, int, int>> to, from;
    for (const auto& one : transfers) {
      if (one.source_rank == one.target_rank) continue;
      to.emplace(one.round, one.source_rank, one.target_rank);
      from.emplace(one.round, one.target_rank, one.source_rank);
    }
    for (const auto& peers : {to, from})
      for (auto it = peers.begin(); it != peers.end() && std::next(it) != peers.end(); ++it)
        ASSERT_FALSE(std::get<0>(*it) == std::get<0>(*std::next(it)) &&
                     std::get<1>(*it) == std::get<1>(*std::next(it)))
            << "seed " << seed << ": rank " << std::get<1>(*it) << " has two peers in a round";
  }
}

// How often each kind of damage could be done, and how often the checker saw it.
struct damage {
  const char* what;
  bool (*inflict)(dice&, const scene&, schedule&);  // false if it does not apply
  bool always_wrong;
};

scheduled_move* any_move(dice& roll, schedule& of) {
  return of.moves.empty() ? nullptr : &of.moves[roll.below(static_cast<int>(of.moves.size()))];
}

const damage damages[] = {
    {"another source slot",
     [](dice& roll, const scene& of, schedule& made) {
       scheduled_move* move = any_move(roll, made);
       const int slot = roll.below(of.current.slots());
       if (!move || slot == move->source_slot) return false;
       move->source_slot = slot;
       move->source_rank = of.current.layout().rank_of(slot);
       move->link = of.cluster.link(move->source_rank, move->target_rank);
       return true;
     },
     false},
    {"a lost move",
     [](dice& roll, const scene&, schedule& made) {
       const int k = made.batches.empty() ? 0 : roll.below(static_cast<int>(made.batches.size()));
       if (made.batches.empty() || made.batches[k].move_count == 0) return false;
       made.moves.erase(made.moves.begin() + made.batches[k].first_move);
       --made.batches[k].move_count;
       for (std::size_t i = k + 1; i < made.batches.size(); ++i) --made.batches[i].first_move;
       return true;
     },
     true},
    {"a lost release",
     [](dice&, const scene&, schedule& made) {
       if (made.releases.empty()) return false;
       made.releases.pop_back();
       for (std::size_t i = made.batches.size(); i-- > 0;)
         if (made.batches[i].release_count > 0) {
           --made.batches[i].release_count;
           break;
         }
       for (batch& one : made.batches)
         one.first_release = std::min<std::int32_t>(one.first_release, made.releases.size());
       return true;
     },
     true},
    {"staged moves made to vacate",
     [](dice&, const scene&, schedule& made) {
       bool any = false;
       for (scheduled_move& move : made.moves)
         if (move.way == move_way::staged)
           move.way = move_way::vacate, move.staging_row = -1, any = true;
       return any;
     },
     false},
    {"a batch that no longer waits",
     [](dice&, const scene&, schedule& made) {
       for (batch& one : made.batches)
         if (one.after_previous_commit) {
           one.after_previous_commit = false;
           return true;
         }
       return false;
     },
     false},
    {"two batches in one",
     [](dice&, const scene&, schedule& made) {
       if (made.batches.size() < 2) return false;
       batch& first = made.batches[0];
       const batch second = made.batches[1];
       if (second.move_count == 0 || first.move_count == 0) return false;
       first.move_count += second.move_count;
       first.release_count += second.release_count;
       first.rounds = std::max(first.rounds, second.rounds);
       made.batches.erase(made.batches.begin() + 1);
       return true;
     },
     false},
    {"a wrong link class",
     [](dice& roll, const scene&, schedule& made) {
       scheduled_move* move = any_move(roll, made);
       if (!move) return false;
       move->link = move->link == link_class::local ? link_class::remote : link_class::local;
       return true;
     },
     true},
    {"all in round 0",
     [](dice&, const scene&, schedule& made) {
       bool any = false;
       for (batch& one : made.batches) any |= one.rounds > 1;
       for (scheduled_move& move : made.moves) move.round = 0;
       for (batch& one : made.batches) one.rounds = std::min(one.rounds, 1);
       return any;
     },
     true},
    {"a forwarded move that reads the slot",
     [](dice&, const scene&, schedule& made) {
       for (scheduled_move& move : made.moves)
         if (move.forwards >= 0) {
           move.forwards = -1;
           return true;
         }
       return false;
     },
     true},
    {"a staging row too many",
     [](dice&, const scene& of, schedule& made) {
       for (scheduled_move& move : made.moves)
         if (move.way == move_way::staged) {
           move.staging_row = of.request.staging_rows;
           return true;
         }
       return false;
     },
     true},
};

TEST(schedule_checker, damage_is_found) {
  for (const damage& one : damages) {
    int done = 0, found = 0;
    for (std::uint64_t seed = 1; seed <= 600 / part; ++seed) {
      scene made = random_scene(seed);
      made.distrusted.clear();
      made.request.staging_rows = 2;
      made.request.receives_per_batch += 1;
      made.connect();
      schedule result = make_schedule(made.request);
      dice roll(seed);
      if (!one.inflict(roll, made, result)) continue;
      ++done;
      const bool seen = !why_wrong(made.request, result).empty();
      found += seen;
      ASSERT_TRUE(seen || !one.always_wrong) << one.what << ", seed " << seed;
    }
    EXPECT_GE(done, 5) << one.what;
    EXPECT_GE(2 * found, done) << one.what << ": found " << found << " of " << done;
  }
}

}  // namespace
}  // namespace ballast
