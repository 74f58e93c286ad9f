// What an engine says of its layers and ranks: layers with fewer slots, ranks that are slow, leave,
// are gone or come back. After every step the live_model's promises hold.
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <vector>

#include "tests/mpi/live_model.hpp"

namespace ballast {
namespace {

using ints = std::vector<std::int32_t>;
using masks = std::vector<std::uint8_t>;

int ranks() { return size_of(MPI_COMM_WORLD); }
bool is_last() { return rank_of(MPI_COMM_WORLD) == ranks() - 1; }

/// Experts that a rank holds over all layers.
int held_by(const placement& p, int rank) {
  int held = 0;
  for (int layer = 0; layer < p.layers(); ++layer) {
    const auto own = p.experts_of(layer).subspan(p.layout().first(rank), p.layout().count(rank));
    held += static_cast<int>(own.size() - std::ranges::count(own, no_expert));
  }
  return held;
}

/// Plays epochs; after every step `check` looks at the placement.
void play(live_model& model, int epochs, const std::function<void(const placement&)>& check) {
  for (int i = 0; i < epochs; ++i) {
    model.step_until([&](const ballast_step_result& result) {
      check(model.current());
      return result.epoch_closed != 0;
    });
    EXPECT_NE(model.closed().back().outcome, BALLAST_OUTCOME_DROPPED)
        << model.closed().back().reason;
  }
}

/// ballast_ranks_set once no epoch is in flight (a step may close one and trigger the next), and
/// the oracle is told.
void set_ranks(live_model& model, const ints& speed, const masks& masked) {
  const std::int32_t* speeds = speed.empty() ? nullptr : speed.data();
  const std::uint8_t* marks = masked.empty() ? nullptr : masked.data();
  EXPECT_EQ(ballast_pause(model.context(), BALLAST_FINISH), BALLAST_OK);
  EXPECT_TRUE(
      model.step_until([](const ballast_step_result& r) { return r.phase == BALLAST_PHASE_IDLE; }));
  EXPECT_EQ(ballast_ranks_set(model.context(), speeds, marks), BALLAST_OK) << ballast_last_error();
  EXPECT_EQ(ballast_resume(model.context()), BALLAST_OK);
  model.expectation().mark_ranks(read_rank_marks(speeds, marks, ranks()));
  model.check_tables();
}

/// Every rank can hold every expert.
live_options roomy() {
  live_options o = {.config = small_config(ranks())};
  o.config.slots_per_rank = o.config.experts;
  o.config.policy = "flow";
  return o;
}

masks last_is(std::uint8_t mark) {
  masks all(static_cast<std::size_t>(ranks()), BALLAST_RANK_SERVES);
  all.back() = mark;
  return all;
}

TEST(layers, none_gets_an_expert_beyond_its_slots) {
  const int fewest = (small_config(ranks()).experts + ranks() - 1) / ranks();
  const ints slots = {fewest + 2, fewest, fewest + 1};
  std::uint64_t seed = 0;
  for (const char* policy : {"flow", "deepseek"}) {
    for (const int spare : {0, 1}) {
      for (const int staging : {1, 2}) {
        SCOPED_TRACE(std::string(policy) + ", " + std::to_string(spare) + " spare rows, staging " +
                     std::to_string(staging));
        live_options o = {.config = small_config(ranks())};
        o.config.policy = policy;
        o.config.slots_per_layer = slots.data();
        o.config.spare_rows = spare;
        o.config.staging_experts = staging;
        o.config.receives_per_batch = staging;
        o.load_seed = ++seed;
        live_model model(MPI_COMM_WORLD, o);
        play(model, 2, [&](const placement& p) {
          for (int layer = 0; layer < p.layers(); ++layer) {
            for (int slot = 0; slot < p.slots(); ++slot) {
              const int row = slot - p.layout().first(p.layout().rank_of(slot));
              if (row < slots[layer] + spare) continue;
              EXPECT_EQ(p.experts_of(layer)[slot], no_expert) << "layer " << layer;
            }
          }
        });
      }
    }
  }
}

TEST(ranks, a_slow_rank_is_planned_for) {
  if (ranks() == 1) GTEST_SKIP() << "one rank has nobody to be slower than";
  live_options o = roomy();
  ints speed(static_cast<std::size_t>(ranks()), 1000);
  speed[0] = 250;
  o.config.rank_speed = speed.data();
  live_model slow(MPI_COMM_WORLD, o);  // the oracle checks every plan
  ASSERT_TRUE(slow.finish_epoch());
  o.config.rank_speed = nullptr;
  live_model even(MPI_COMM_WORLD, o);
  ASSERT_TRUE(even.finish_epoch());
  EXPECT_NE(slow.closed().back().digest, even.closed().back().digest);
  EXPECT_LT(slow.closed().back().balance_before, even.closed().back().balance_before)
      << "the same placement is less even on ranks that are not alike";
  set_ranks(even, speed, {});
  ASSERT_TRUE(even.finish_epoch());
  EXPECT_LT(even.closed().back().balance_before, 0.9) << "it was even for ranks all alike";
}

TEST(ranks, nothing_is_ever_on_a_rank_that_is_gone) {
  if (ranks() == 1) GTEST_SKIP() << "one rank cannot be gone";
  live_options o = roomy();
  const masks gone = last_is(BALLAST_RANK_GONE);
  o.config.masked_ranks = gone.data();
  for (const char* policy : {"flow", "deepseek"}) {
    SCOPED_TRACE(policy);
    o.config.policy = policy;
    live_model model(MPI_COMM_WORLD, o);
    play(model, 2, [](const placement& p) { EXPECT_EQ(held_by(p, ranks() - 1), 0); });
    for (const ballast_epoch& e : model.closed()) {
      if (is_last()) {
        EXPECT_EQ(e.bytes_received, 0);
      }
    }
  }
}

TEST(ranks, one_drains_is_gone_and_comes_back) {
  if (ranks() == 1) GTEST_SKIP() << "one rank cannot leave";
  live_options o = roomy();
  o.config.slots_per_rank = (o.config.experts + ranks() - 2) / (ranks() - 1) + 1;
  o.config.gain_min_permille = 1000;  // no epoch is worth anything
  o.config.max_moves = 1;
  live_model model(MPI_COMM_WORLD, o);
  ASSERT_TRUE(model.finish_epoch());
  EXPECT_GT(held_by(model.current(), ranks() - 1), 0);

  set_ranks(model, {}, last_is(BALLAST_RANK_DRAINING));
  EXPECT_GT(held_by(model.current(), ranks() - 1), 0) << "it serves until the next epoch";
  ASSERT_TRUE(model.finish_epoch());
  EXPECT_EQ(model.closed().back().outcome, BALLAST_OUTCOME_COMMITTED)
      << model.closed().back().reason;
  EXPECT_EQ(held_by(model.current(), ranks() - 1), 0);

  set_ranks(model, {}, last_is(BALLAST_RANK_GONE));
  play(model, 1, [](const placement& p) { EXPECT_EQ(held_by(p, ranks() - 1), 0); });

  set_ranks(model, {}, {});
  EXPECT_EQ(held_by(model.current(), ranks() - 1), 0) << "it is empty until an epoch fills it";
}

TEST(ranks, slots_of_a_rank_that_is_gone_stop_serving_at_once) {
  if (ranks() == 1) GTEST_SKIP() << "one rank cannot be gone";
  live_model model(MPI_COMM_WORLD, roomy());
  model.play(3);
  EXPECT_EQ(held_by(model.current(), ranks() - 1), 3 * 13);
  set_ranks(model, {}, last_is(BALLAST_RANK_GONE));
  EXPECT_EQ(held_by(model.current(), ranks() - 1), 0);
  play(model, 2, [](const placement& p) { EXPECT_EQ(held_by(p, ranks() - 1), 0); });
  set_ranks(model, {}, {});
  ASSERT_TRUE(model.finish_epoch());
}

void expect_refused(live_model& model, const std::int32_t* speed, const std::uint8_t* masked,
                    ballast_status wanted, const std::string& part) {
  const std::uint64_t before = model.tables_digest();
  const ballast_status got = ballast_ranks_set(model.context(), speed, masked);
  const std::string text = ballast_last_error();
  EXPECT_EQ(got, wanted) << text;
  EXPECT_NE(text.find(part), std::string::npos) << text;
  EXPECT_TRUE(same_everywhere(MPI_COMM_WORLD, text)) << text;
  EXPECT_EQ(model.tables_digest(), before);
}

/// A rank fails with experts that only it had: they are named, refused as long as they are not
/// loaded again where that is said, and then serve there.
TEST(ranks, lost_experts_are_named_and_serve_once_they_are_loaded_again) {
  if (ranks() == 1) GTEST_SKIP() << "one rank cannot be gone";
  live_options o = {.config = small_config(ranks())};
  o.config.slots_per_rank = (o.config.experts + ranks() - 2) / (ranks() - 1);
  o.config.policy = "flow";
  const int rows = o.config.slots_per_rank;
  ints single(static_cast<std::size_t>(o.config.layers) * ranks() * rows, -1);
  for (int layer = 0; layer < o.config.layers; ++layer) {
    for (int e = 0; e < o.config.experts; ++e)
      single[(layer * ranks() + e % ranks()) * rows + e / ranks()] = e;
  }
  o.config.placement = single.data();
  live_model model(MPI_COMM_WORLD, o);
  model.play(3);
  const masks gone = last_is(BALLAST_RANK_GONE);
  std::vector<ballast_loss> lost;
  ballast_loss loss = {};
  loss.struct_size = sizeof(loss);
  while (ballast_lost(model.context(), gone.data(), static_cast<int>(lost.size()), &loss) ==
         BALLAST_OK) {
    lost.push_back(loss);
  }
  EXPECT_NE(std::string(ballast_last_error()).find("no lost expert at index"), std::string::npos);
  EXPECT_EQ(static_cast<int>(lost.size()), held_by(model.current(), ranks() - 1));
  ASSERT_FALSE(lost.empty());
  EXPECT_EQ(ballast_lost(model.context(), nullptr, 0, &loss), BALLAST_ERROR_STATE);
  expect_refused(model, nullptr, gone.data(), BALLAST_ERROR_INVALID_ARGUMENT,
                 "does not hold its weights (ballast_lost)");

  for (const ballast_loss& l : lost) {
    EXPECT_NE(l.rank, ranks() - 1);
    EXPECT_EQ(l.rank, l.slot / rows);
    if (l.rank == rank_of(MPI_COMM_WORLD)) model.weights().fill(l.layer, l.slot % rows, l.expert);
  }
  ASSERT_EQ(ballast_ranks_set(model.context(), nullptr, gone.data()), BALLAST_OK)
      << ballast_last_error();
  model.expectation().mark_ranks(read_rank_marks(nullptr, gone.data(), ranks()));
  model.check_tables();
  model.check_rows();
  EXPECT_EQ(held_by(model.current(), ranks() - 1), 0);
  for (const ballast_loss& l : lost) {
    EXPECT_EQ(model.current().experts_of(l.layer)[l.slot], l.expert);
  }
  play(model, 2, [](const placement& p) { EXPECT_EQ(held_by(p, ranks() - 1), 0); });
}

TEST(ranks, what_cannot_be_is_refused_on_all_ranks) {
  live_options o = {.config = small_config(ranks())};
  o.config.slots_per_rank = (o.config.experts + ranks() - 1) / ranks();
  live_model model(MPI_COMM_WORLD, o);
  const masks none(static_cast<std::size_t>(ranks()), BALLAST_RANK_GONE);
  expect_refused(model, nullptr, none.data(), BALLAST_ERROR_INVALID_ARGUMENT,
                 "masked_ranks: no rank serves");
  // On one rank only: all hear of it.
  ints speed(static_cast<std::size_t>(ranks()), 5);
  if (is_last()) speed[0] = 0;
  const std::string last = "rank " + std::to_string(ranks() - 1);
  expect_refused(model, speed.data(), nullptr, BALLAST_ERROR_INVALID_ARGUMENT,
                 last + ": rank_speed[0] is 0");
  if (ranks() > 1) {
    if (is_last()) speed[0] = 6;
    expect_refused(model, speed.data(), nullptr, BALLAST_ERROR_CONFIG_MISMATCH, "rank_speed");
    masks gone(static_cast<std::size_t>(ranks()), BALLAST_RANK_GONE);
    masks draining(static_cast<std::size_t>(ranks()), BALLAST_RANK_DRAINING);
    gone[0] = draining[0] = BALLAST_RANK_SERVES;
    expect_refused(model, nullptr, gone.data(), BALLAST_ERROR_INVALID_ARGUMENT, "layer 0, expert ");
    expect_refused(model, nullptr, draining.data(), BALLAST_ERROR_INVALID_ARGUMENT,
                   "fewer than the 13 experts");
  }
  model.step_until([](const ballast_step_result& r) { return r.phase != BALLAST_PHASE_IDLE; });
  expect_refused(model, nullptr, nullptr, BALLAST_ERROR_STATE, "an epoch is in flight");
  ASSERT_TRUE(model.finish_epoch());
}

}  // namespace
}  // namespace ballast
