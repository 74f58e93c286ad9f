// What schedules look like in cases small enough to think through, the movement vectors of other
// balancers, a full re-plan, bad requests, and the shares between two placements.

#include "policies/schedule.hpp"

#include <gtest/gtest.h>

#include <array>
#include <set>
#include <stdexcept>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "tests/policies/schedule_checker.hpp"
#include "tests/policies/schedule_scenes.hpp"

namespace ballast {
namespace {

using namespace ballast::testing;

scene scene_of(const slot_layout& layout, int experts, const std::vector<std::int32_t>& now,
               const std::vector<std::int32_t>& then, int nodes = 1) {
  scene made;
  made.current = placement_of(layout, experts, {now});
  made.target = placement_of(layout, experts, {then});
  made.cluster = cluster_of(layout.ranks(), nodes, 1);
  return made;
}

schedule checked_schedule(scene& of) {
  of.connect();
  schedule made = make_schedule(of.request);
  EXPECT_EQ(why_wrong(of.request, made), "");
  return made;
}

int count_way(const schedule& of, move_way way) {
  int count = 0;
  for (const scheduled_move& move : of.moves) count += move.way == way;
  return count;
}

int count_link(const schedule& of, link_class link) {
  int count = 0;
  for (const scheduled_move& move : of.moves) count += move.link == link;
  return count;
}

TEST(schedule, equal_placements_need_nothing) {
  scene same = random_scene(7);
  same.target = same.current;
  same.distrusted.clear();
  EXPECT_EQ(checked_schedule(same), schedule{});
}

TEST(schedule, changed_shares_need_no_batch) {
  scene made = scene_of(slot_layout::uniform(2, 1), 1, {0, 0}, {0, 0});
  made.target.shares_of(0)[0] = 1;
  made.target.shares_of(0)[1] = share_one - 1;
  EXPECT_EQ(checked_schedule(made), schedule{});
}

TEST(schedule, two_ranks_swap_with_one_staging_row_and_one_receive) {
  scene made = scene_of(slot_layout::uniform(2, 1), 2, {0, 1}, {1, 0});
  made.request.staging_rows = made.request.receives_per_batch = 1;
  const schedule result = checked_schedule(made);
  EXPECT_EQ(result.batches.size(), 1u);
  EXPECT_EQ(count_way(result, move_way::staged), 2);
  EXPECT_EQ(result.batches[0].rounds, 1);
}

TEST(schedule, a_replica_that_is_not_the_last_is_vacated_and_an_empty_slot_is_spare) {
  scene made =
      scene_of(slot_layout::uniform(3, 2), 3, {0, 1, 2, 0, 1, no_expert}, {0, 1, 2, 1, 1, 0});
  const schedule result = checked_schedule(made);
  ASSERT_EQ(result.moves.size(), 2u);
  EXPECT_EQ(count_way(result, move_way::vacate), 1);
  EXPECT_EQ(count_way(result, move_way::spare), 1);
}

TEST(schedule, an_expert_that_moves_frees_its_slot_in_the_same_batch) {
  scene made = scene_of(slot_layout::uniform(2, 2), 2, {0, 1, no_expert, no_expert},
                        {0, no_expert, no_expert, 1});
  const schedule result = checked_schedule(made);
  ASSERT_EQ(result.batches.size(), 1u);
  EXPECT_EQ(result.moves.size(), 1u);
  EXPECT_EQ(result.releases, (std::vector<slot_release>{{0, 1}}));
}

TEST(schedule, dropping_replicas_is_a_batch_without_moves) {
  scene made = scene_of(slot_layout::uniform(3, 1), 1, {0, 0, 0}, {no_expert, 0, no_expert});
  const schedule result = checked_schedule(made);
  ASSERT_EQ(result.batches.size(), 1u);
  EXPECT_TRUE(result.moves.empty());
  EXPECT_EQ(result.releases.size(), 2u);
  EXPECT_EQ(result.batches[0].rounds, 0);
}

TEST(schedule, a_swap_inside_a_rank_takes_two_staging_rows_or_a_third_slot) {
  scene made = scene_of(slot_layout::uniform(2, 2), 4, {0, 1, 2, 3}, {1, 0, 2, 3});
  EXPECT_EQ(checked_schedule(made).moves.size(), 2u);
  made.request.staging_rows = 1;
  EXPECT_EQ(checked_schedule(made).moves.size(), 6u);  // three swaps with the other rank
  scene with_empty = scene_of(slot_layout::uniform(1, 3), 2, {0, 1, no_expert}, {1, 0, no_expert});
  with_empty.request.staging_rows = 1;
  EXPECT_EQ(checked_schedule(with_empty).moves.size(), 3u);
  scene with_replicas = scene_of(slot_layout::uniform(1, 4), 3, {0, 1, 2, 2}, {1, 0, 2, 2});
  with_replicas.request.staging_rows = 1;
  EXPECT_EQ(checked_schedule(with_replicas).moves.size(), 4u);
}

TEST(schedule, slots_that_a_layer_does_not_have_do_not_help_out) {
  const std::vector<std::int32_t> rows = {2};
  scene made = scene_of(slot_layout::uniform(2, 3), 4, {0, 1, no_expert, 2, 3, no_expert},
                        {1, 0, no_expert, 2, 3, no_expert});
  made.request.staging_rows = 1;
  made.request.rows_per_layer = rows;
  for (const scheduled_move& move : checked_schedule(made).moves)
    EXPECT_NE(move.target_slot % 3, 2);
  made.target = made.current;
  made.target.experts_of(0)[2] = 3;
  made.target.shares_of(0)[2] = share_one / 2;
  made.target.shares_of(0)[4] = share_one / 2;
  EXPECT_THROW(checked_schedule(made), std::invalid_argument);
}

TEST(schedule, a_rank_that_is_gone_neither_sends_nor_receives) {
  const std::vector<std::uint8_t> gone = {0, 1, 0};
  // Expert 0 is on ranks 0 and 1; rank 1 would be the source nearest to rank 2.
  scene made = scene_of(slot_layout::uniform(3, 2), 2, {0, 1, 0, 1, no_expert, no_expert},
                        {0, 1, no_expert, no_expert, 0, 1});
  made.request.gone_ranks = gone;
  made.connect();
  const schedule result = make_schedule(made.request);
  EXPECT_EQ(result.moves.size(), 2u);
  for (const scheduled_move& move : result.moves) EXPECT_EQ(move.source_rank, 0);
  EXPECT_TRUE(result.releases.empty()) << "its slots are empty already";
  made.target = made.current;
  EXPECT_THROW(make_schedule(made.request), std::invalid_argument) << "a target on that rank";
  made.current = placement_of(slot_layout::uniform(3, 2), 2, {{1, no_expert, 0, 1, -1, -1}});
  made.target = placement_of(slot_layout::uniform(3, 2), 2, {{1, 0, -1, -1, -1, -1}});
  EXPECT_THROW(make_schedule(made.request), std::invalid_argument) << "no copy but there";
}

TEST(schedule, an_expert_crosses_into_a_node_once_and_spreads_as_a_tree) {
  std::vector<std::int32_t> now(16, no_expert), then(16, no_expert);
  now[0] = then[0] = 0;
  for (int rank = 8; rank < 16; ++rank) then[rank] = 0;
  scene made = scene_of(slot_layout::uniform(16, 1), 1, now, then, 2);
  const schedule result = checked_schedule(made);
  EXPECT_EQ(result.batches.size(), 1u);
  EXPECT_EQ(count_link(result, link_class::remote), 1);
  EXPECT_EQ(count_link(result, link_class::island), 7);
  EXPECT_EQ(result.batches[0].rounds, 4);  // one to cross, then 1, 2 and 4 arrivals
}

TEST(schedule, a_near_replica_is_read_before_it_is_overwritten) {
  // Expert 0 is on both nodes; node 1 wants it in rank 3 and expert 1 where it is now.
  scene made = scene_of(slot_layout::uniform(4, 1), 2, {0, 1, 0, no_expert}, {0, 1, 1, 0}, 2);
  EXPECT_EQ(count_link(checked_schedule(made), link_class::remote), 1);
}

TEST(schedule, forced_staging_stages_everything) {
  for (std::uint64_t seed = 1; seed <= 100; ++seed) {
    scene made = random_scene(seed);
    made.distrusted.clear();
    made.request.way = way_choice::staged;
    made.request.staging_rows = 2;
    made.request.receives_per_batch = 4;
    const schedule result = checked_schedule(made);
    EXPECT_EQ(count_way(result, move_way::staged), static_cast<int>(result.moves.size()))
        << "seed " << seed;
  }
}

TEST(schedule, forced_vacating_stages_only_what_it_must) {
  dice roll(3);
  const slot_layout layout = slot_layout::uniform(8, 9);
  scene made;
  made.current = random_placement(roll, 8, 64, layout, 8, false);
  made.target = random_placement(roll, 8, 64, layout, 8, false);
  made.cluster = cluster_of(8, 2, 1);
  const int automatic = count_way(checked_schedule(made), move_way::staged);
  made.request.way = way_choice::vacate;
  EXPECT_LT(count_way(checked_schedule(made), move_way::staged) * 4, automatic);
}

// (expert, target rank) of the moves between ranks.
std::multiset<std::pair<int, int>> deliveries(const schedule& of) {
  std::multiset<std::pair<int, int>> found;
  for (const scheduled_move& move : of.moves)
    if (move.source_rank != move.target_rank) found.emplace(move.expert, move.target_rank);
  return found;
}

TEST(schedule, vllm_transfer_vectors_are_delivered) {
  using vector = std::vector<std::int32_t>;
  using set = std::multiset<std::pair<int, int>>;
  struct {
    int experts;
    vector now, then;
    set expected;
  } const cases[] = {
      {4, {0, 1, 2, 0, 3, 1, 2, 3}, {0, 1, 0, 1, 0, 2, 3, 2}, {{0, 2}, {1, 1}, {2, 2}}},
      // Their targets lose experts; a rank more keeps those.
      {8,
       {0, 1, 2, 3, 4, 5, 6, 7, 6, 7},
       {0, 4, 0, 5, 0, 1, 2, 3, 6, 7},
       {{0, 1}, {0, 2}, {1, 2}, {2, 3}, {3, 3}, {4, 0}, {5, 1}}},
      {9,
       {0, 1, 0, 2, 3, 4, 5, 6, 7, 8, 6, 7, 8, -1},
       {0, 3, 1, 0, 2, 0, 4, 0, 5, 0, 6, 7, 8, -1},
       {{0, 2}, {0, 3}, {0, 4}, {1, 1}, {2, 2}, {3, 0}, {4, 3}, {5, 4}}}};
  for (const auto& one : cases) {
    scene made = scene_of(slot_layout::uniform(static_cast<int>(one.now.size()) / 2, 2),
                          one.experts, one.now, one.then);
    EXPECT_EQ(deliveries(checked_schedule(made)), one.expected) << one.experts << " experts";
  }
}

TEST(schedule, sglang_movement_vector_crosses_no_more) {
  scene made =
      scene_of(slot_layout::uniform(8, 2), 12, {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 0, 1, 2, 3},
               {5, 6, 5, 7, 8, 4, 3, 4, 10, 9, 10, 2, 0, 1, 11, 1}, 2);
  const schedule result = checked_schedule(made);
  std::multiset<int> moved;
  for (const scheduled_move& move : result.moves) moved.insert(move.target_slot);
  EXPECT_EQ(moved, (std::multiset<int>{0, 1, 2, 3, 4, 5, 6, 7, 8, 11, 14, 15}));
  EXPECT_EQ(count_link(result, link_class::island), 10);
  EXPECT_EQ(count_link(result, link_class::remote), 1);
  EXPECT_EQ(count_link(result, link_class::local), 1);
}

TEST(schedule, a_full_replan_fills_its_batches) {
  // 58 layers x 256 experts on 32 ranks: with 32 redundant slots, and with none, where every move
  // is staged.
  for (const int slots_per_rank : {9, 8}) {
    dice roll(5);
    const slot_layout layout = slot_layout::uniform(32, slots_per_rank);
    scene made;
    made.current = random_placement(roll, 58, 256, layout, 32 * (slots_per_rank - 8), false);
    made.target = random_placement(roll, 58, 256, layout, 32 * (slots_per_rank - 8), false);
    made.cluster = cluster_of(32, 4, 1);
    const schedule result = checked_schedule(made);
    std::size_t needed = 0;
    for (int layer = 0; layer < 58; ++layer)
      for (int slot = 0; slot < layout.slots(); ++slot) {
        const std::int32_t wanted = made.target.experts_of(layer)[slot];
        needed += wanted != no_expert && wanted != made.current.experts_of(layer)[slot];
      }
    const std::size_t receives = slots_per_rank == 9 ? 4 : 2;
    EXPECT_LE(result.batches.size() * 32 * receives * 100, needed * 135)
        << slots_per_rank << " slots per rank";
    EXPECT_LE(result.moves.size() * 100, needed * (slots_per_rank == 9 ? 101 : 120))
        << slots_per_rank << " slots per rank";
  }
}

TEST(schedule, distrusted_slots_are_no_sources) {
  scene made = scene_of(slot_layout::uniform(4, 1), 2, {0, 1, 0, no_expert}, {0, 1, 0, 0}, 2);
  made.distrusted = {{0, 2}};
  const schedule result = checked_schedule(made);
  ASSERT_EQ(result.moves.size(), 1u);
  EXPECT_EQ(result.moves[0].source_slot, 0);  // although slot 2 is nearer
}

TEST(schedule, the_last_trusted_copy_is_not_overwritten_before_it_is_read) {
  scene made = scene_of(slot_layout::uniform(3, 1), 2, {0, 1, 0}, {1, 0, 0});
  made.distrusted = {{0, 2}};
  const schedule result = checked_schedule(made);
  EXPECT_EQ(result.moves.size(), 2u);
  EXPECT_EQ(count_way(result, move_way::staged), 2);
}

std::string refusal(scene made) {
  made.connect();
  try {
    make_schedule(made.request);
  } catch (const std::invalid_argument& error) {
    return error.what();
  }
  return "accepted";
}

TEST(schedule, bad_requests_are_refused_by_name) {
  const slot_layout two = slot_layout::uniform(2, 1);
  const scene good = scene_of(two, 2, {0, 1}, {1, 0});
  const auto expect = [&](const char* text, auto change) {
    scene bad = good;
    change(bad);
    EXPECT_NE(refusal(bad).find(text), std::string::npos) << text << " not in: " << refusal(bad);
  };
  EXPECT_EQ(refusal(good), "accepted");
  expect("staging_rows is 0", [](scene& s) { s.request.staging_rows = 0; });
  expect("receives_per_batch is -1", [](scene& s) { s.request.receives_per_batch = -1; });
  expect("way is 9", [](scene& s) { s.request.way = static_cast<way_choice>(9); });
  expect("the cluster map has 3 ranks, the placement 2",
         [](scene& s) { s.cluster = cluster_of(3, 1, 1); });
  expect("the target has 2 layers, the current placement 1", [&](scene& s) {
    s.target = placement_of(two, 2, {{0, 1}, {0, 1}});
  });
  expect("the target has 1 experts, the current placement 2", [&](scene& s) {
    s.target = placement_of(two, 1, {{0, 0}});
  });
  expect("different slot layouts", [](scene& s) {
    s.target = placement_of(slot_layout::uniform(1, 2), 2, {{0, 1}});
  });
  expect("the target is illegal", [](scene& s) { s.target.experts_of(0)[0] = 0; });
  expect("layer 0 slot 1 of the current placement holds expert 7",
         [](scene& s) { s.current.experts_of(0)[1] = 7; });
  expect("layer 0 expert 1 must move, but it is in no slot",
         [](scene& s) { s.current.experts_of(0)[1] = no_expert; });
  expect("layer 0 expert 1 must move, but every copy of it is distrusted (the first in slot 1)",
         [](scene& s) {
           s.distrusted = {{0, 1}};
         });
  expect("the distrusted slot 2 of layer 0 does not exist", [](scene& s) {
    s.distrusted = {{0, 2}};
  });
  expect("experts 0 and 1 cannot change places inside rank 0", [](scene& s) {
    s = scene_of(slot_layout::uniform(1, 2), 2, {0, 1}, {1, 0});
    s.request.staging_rows = 1;
  });
  EXPECT_THROW(make_schedule({}), std::invalid_argument);
}

TEST(live_shares, an_expert_at_home_has_its_target_shares_and_others_split_equally) {
  const std::vector<std::int32_t> target = {0, 0, 1, 1, 2, no_expert},
                                  target_shares = {100,           share_one - 100, 5,
                                                   share_one - 5, share_one,       0};
  const std::vector<std::int32_t> live = {0, 0, 1, 2, 2, no_expert};
  std::vector<std::int32_t> shares(6, -1);
  std::vector<std::int32_t> scratch(3, 7);
  live_shares(live, target, target_shares, std::vector<std::int32_t>{2, 1, 2}, scratch, shares);
  EXPECT_EQ(shares, (std::vector<std::int32_t>{100, share_one - 100, share_one, share_one / 2,
                                               share_one / 2, 0}));
  live_shares(target, target, target_shares, std::vector<std::int32_t>{2, 2, 1}, scratch, shares);
  EXPECT_EQ(shares, target_shares);
}

}  // namespace
}  // namespace ballast
