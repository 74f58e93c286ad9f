// The step protocol: when epochs begin, what they sum up, and what pausing and destroying in the
// middle of one leave behind.
#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <numeric>
#include <span>
#include <vector>

#include "tests/mpi/bare_model.hpp"
#include "tests/mpi/live_model.hpp"

namespace ballast {
namespace {

// An epoch that takes many steps: one round of transfers in a step, one expert received in a batch.
live_options slow_exchange() {
  live_options o = {.config = small_config(size_of(MPI_COMM_WORLD))};
  o.config.bytes_per_step = 300;
  o.config.receives_per_batch = 1;
  o.config.staging_experts = 1;
  o.config.layers = 4;
  return o;
}

bool alone() { return size_of(MPI_COMM_WORLD) == 1; }  // then there is nothing to move

bool reach(live_model& model, int phase) {
  return model.step_until([&](const ballast_step_result& r) { return r.phase == phase; });
}

TEST(protocol, zero_loads_leave_everything_as_it_is) {
  live_options o = {.config = small_config(size_of(MPI_COMM_WORLD))};
  o.config.slots_per_rank =
      (o.config.experts + size_of(MPI_COMM_WORLD) - 1) / size_of(MPI_COMM_WORLD);
  o.loads_are_zero = true;
  live_model model(MPI_COMM_WORLD, o);
  const std::uint64_t before = model.tables_digest();
  for (int i = 0; i < 3; ++i) model.finish_epoch();
  for (const ballast_epoch& e : model.closed()) {
    EXPECT_EQ(e.outcome, BALLAST_OUTCOME_UNCHANGED) << e.reason;
    EXPECT_EQ(e.window_tokens, 0);
    EXPECT_STRNE(e.reason, "");
  }
  EXPECT_EQ(model.tables_digest(), before);
  EXPECT_EQ(model.counters().epochs_unchanged, 3);
}

// Every layer has the 2^62 tokens that it may have.
TEST(protocol, the_tokens_of_all_layers_are_at_most_what_their_type_holds) {
  bare_model model(MPI_COMM_SELF, small_config(1));
  ASSERT_EQ(model.begin(), BALLAST_OK) << ballast_last_error();
  std::vector<std::int64_t> counts(model.config.experts, 0);
  counts[3] = counts[5] = std::int64_t{1} << 61;
  ballast_step_result result = {};
  result.struct_size = sizeof(result);
  for (int step = 0; step < 100000 && result.epoch_closed == 0; ++step) {
    for (int layer = 0; layer < model.config.layers && step == 0; ++layer)
      ASSERT_EQ(model.record_counts(layer, counts), BALLAST_OK);
    ASSERT_EQ(ballast_step(model.context, &result), BALLAST_OK) << ballast_last_error();
  }
  ballast_epoch epoch = {};
  epoch.struct_size = sizeof(epoch);
  ASSERT_EQ(ballast_epoch_report(model.context, 0, &epoch), BALLAST_OK) << ballast_last_error();
  EXPECT_NE(epoch.outcome, BALLAST_OUTCOME_DROPPED) << epoch.reason;
  EXPECT_EQ(epoch.window_tokens, std::numeric_limits<std::int64_t>::max());
}

TEST(protocol, no_epoch_before_the_interval_has_passed) {
  live_options o = {.config = small_config(size_of(MPI_COMM_WORLD))};
  o.config.interval = 20;
  live_model model(MPI_COMM_WORLD, o);
  for (int i = 0; i < 19; ++i) EXPECT_EQ(model.step().phase, BALLAST_PHASE_IDLE);
  EXPECT_EQ(model.counters().epochs, 0);
  EXPECT_EQ(model.counters().steps_since_commit, -1);
  EXPECT_NE(model.step().phase, BALLAST_PHASE_IDLE);
  model.finish_epoch();
  EXPECT_EQ(model.closed()[0].step_triggered, 19);
  EXPECT_EQ(model.closed()[0].epoch, 0);
}

// The expectation of window_tokens is the oracle's.
TEST(protocol, windows_shorter_and_longer_than_the_interval) {
  for (const int window : {1, 3, 7, 8, 9, 16, 25}) {
    SCOPED_TRACE("window " + std::to_string(window));
    live_options o = {.config = small_config(size_of(MPI_COMM_WORLD))};
    o.config.window = window;
    live_model model(MPI_COMM_WORLD, o);
    for (int i = 0; i < 6; ++i) model.finish_epoch();
  }
}

TEST(protocol, triggers_during_an_epoch_are_missed_and_counted) {
  if (alone()) GTEST_SKIP() << "one rank has nothing to move";
  for (const int window : {1, 5}) {
    SCOPED_TRACE("window " + std::to_string(window));
    live_options o = slow_exchange();
    o.config.interval = 1;
    o.config.window = window;
    live_model model(MPI_COMM_WORLD, o);
    for (int i = 0; i < 3; ++i) model.finish_epoch();
    const ballast_counters c = model.counters();
    EXPECT_GT(c.triggers_missed, 3);
    // Every step but those that an epoch was triggered at; the last epoch's successor begins at its
    // last step.
    EXPECT_EQ(c.epochs + c.triggers_missed, c.steps);
  }
}

TEST(protocol, record_mode_reports_and_moves_nothing) {
  live_options o = {.config = small_config(size_of(MPI_COMM_WORLD))};
  o.config.mode = BALLAST_MODE_RECORD;
  live_model model(MPI_COMM_WORLD, o);
  const std::uint64_t before = model.tables_digest();
  for (int i = 0; i < 3; ++i) model.finish_epoch();
  bool recorded = false;
  for (const ballast_epoch& e : model.closed()) {
    EXPECT_EQ(e.moves, 0);
    recorded |= e.outcome == BALLAST_OUTCOME_RECORDED;
  }
  EXPECT_TRUE(recorded || alone());
  EXPECT_EQ(model.tables_digest(), before);
}

TEST(protocol, static_mode_has_no_epochs) {
  live_options o = {.config = small_config(size_of(MPI_COMM_WORLD))};
  o.config.mode = BALLAST_MODE_STATIC;
  live_model model(MPI_COMM_WORLD, o);
  for (int i = 0; i < 40; ++i) EXPECT_EQ(model.step().phase, BALLAST_PHASE_IDLE);
  EXPECT_EQ(model.counters().epochs, 0);
  EXPECT_EQ(model.counters().balancing, 0);
}

TEST(protocol, steps_since_commit_counts_from_the_last_batch) {
  if (alone()) GTEST_SKIP() << "one rank has nothing to move";
  live_options o = {.config = small_config(size_of(MPI_COMM_WORLD))};
  live_model model(MPI_COMM_WORLD, o);
  model.step_until([&](const ballast_step_result&) {
    return !model.closed().empty() && model.closed().back().outcome == BALLAST_OUTCOME_COMMITTED;
  });
  EXPECT_EQ(model.counters().steps_since_commit, 0);
  EXPECT_EQ(ballast_pause(model.context(), BALLAST_FINISH), BALLAST_OK) << ballast_last_error();
  model.play(5);
  EXPECT_EQ(model.counters().steps_since_commit, 5);
  EXPECT_EQ(model.counters().epochs_committed, 1);
}

TEST(protocol, pausing_drops_the_epoch_in_flight_in_any_phase) {
  if (alone()) GTEST_SKIP() << "one rank has nothing to move";
  for (const int way : {BALLAST_WAY_AUTO, BALLAST_WAY_STAGED}) {
    for (const int steps_into : {0, 1, 2, 3, 5, 8, 12, 17}) {
      SCOPED_TRACE("way " + std::to_string(way) + ", " + std::to_string(steps_into) +
                   " steps after the trigger");
      live_options o = slow_exchange();
      o.config.way = way;
      o.config.interval = 11;
      live_model model(MPI_COMM_WORLD, o);
      model.play(static_cast<int>(o.config.interval) + steps_into);
      const bool in_flight = model.closed().empty();
      EXPECT_EQ(ballast_pause(model.context(), BALLAST_DROP), BALLAST_OK) << ballast_last_error();
      if (in_flight) {
        model.finish_epoch();
        const ballast_epoch& e = model.closed().back();
        EXPECT_EQ(e.outcome, BALLAST_OUTCOME_DROPPED) << e.reason;
        EXPECT_NE(std::string(e.reason).find("paused"), std::string::npos) << e.reason;
        EXPECT_EQ(model.counters().epochs_dropped, 1);
      }
      const auto closed = model.closed().size();
      const std::int64_t epochs = model.counters().epochs;
      for (int i = 0; i < 3 * o.config.interval; ++i)
        EXPECT_EQ(model.step().phase, BALLAST_PHASE_IDLE);
      EXPECT_EQ(model.counters().epochs, epochs);
      EXPECT_EQ(model.closed().size(), closed);
      // The rest is caught up after resuming, from a window no longer than any other (oracle).
      EXPECT_EQ(ballast_resume(model.context()), BALLAST_OK) << ballast_last_error();
      model.finish_epoch();
      model.finish_epoch();
      EXPECT_EQ(model.closed().back().outcome, BALLAST_OUTCOME_COMMITTED)
          << model.closed().back().reason;
    }
  }
}

TEST(protocol, pausing_may_let_the_epoch_in_flight_finish) {
  if (alone()) GTEST_SKIP() << "one rank has nothing to move";
  live_model model(MPI_COMM_WORLD, slow_exchange());
  reach(model, BALLAST_PHASE_EXCHANGE);
  EXPECT_EQ(ballast_pause(model.context(), BALLAST_FINISH), BALLAST_OK) << ballast_last_error();
  model.finish_epoch();
  EXPECT_EQ(model.closed().back().outcome, BALLAST_OUTCOME_COMMITTED)
      << model.closed().back().reason;
  for (int i = 0; i < 30; ++i) EXPECT_EQ(model.step().phase, BALLAST_PHASE_IDLE);
}

// What serves when the context goes is what the tables said last, and the bytes are right.
TEST(protocol, destroying_at_any_step_of_an_epoch_leaves_good_rows) {
  for (const int steps_into : {0, 1, 2, 3, 4, 6, 9, 13, 20}) {
    SCOPED_TRACE(std::to_string(steps_into) + " steps after the trigger");
    live_options o = slow_exchange();
    o.config.way = steps_into % 4;
    live_model model(MPI_COMM_WORLD, o);
    model.play(static_cast<int>(o.config.interval) + steps_into);
    const placement last = model.current();
    EXPECT_EQ(model.destroy(), BALLAST_OK);
    const int first = last.layout().first(rank_of(MPI_COMM_WORLD));
    for (int layer = 0; layer < last.layers(); ++layer) {
      for (int row = 0; row < last.layout().count(0); ++row) {
        const std::int32_t expert = last.experts_of(layer)[first + row];
        if (expert != no_expert) {
          EXPECT_EQ(model.weights().wrong_bytes(layer, row, expert), 0);
        }
      }
    }
  }
}

// The last rank's result has a size that is not known.
TEST(protocol, a_bad_result_does_not_keep_the_others_waiting) {
  bare_model model(MPI_COMM_WORLD, small_config(size_of(MPI_COMM_WORLD)));
  ASSERT_EQ(model.begin(), BALLAST_OK) << ballast_last_error();
  const bool odd = rank_of(MPI_COMM_WORLD) == size_of(MPI_COMM_WORLD) - 1;
  ballast_counters counters = {};
  counters.struct_size = sizeof(counters);
  const int steps = 3 * static_cast<int>(model.config.interval);
  for (int step = 0; step < steps; ++step) {
    ballast_step_result result = {};
    result.struct_size = odd ? 3 : sizeof(result);
    EXPECT_EQ(ballast_step(model.context, &result),
              odd ? BALLAST_ERROR_INVALID_ARGUMENT : BALLAST_OK)
        << ballast_last_error();
    EXPECT_TRUE(!odd || result.phase == 0) << "it was written";
  }
  EXPECT_EQ(ballast_read_counters(model.context, &counters), BALLAST_OK);
  EXPECT_EQ(counters.steps, steps);
  EXPECT_GT(counters.epochs, 0);
  EXPECT_EQ(model.destroy(), BALLAST_OK) << ballast_last_error();
}

// Rank 0 pauses alone, and so triggers an epoch later.
TEST(protocol, ranks_at_different_steps_learn_it_and_can_still_be_destroyed) {
  if (alone()) GTEST_SKIP() << "one rank has nobody to differ from";
  bare_model model(MPI_COMM_WORLD, small_config(size_of(MPI_COMM_WORLD)));
  ASSERT_EQ(model.begin(), BALLAST_OK) << ballast_last_error();
  const auto interval = static_cast<int>(model.config.interval);
  const bool pauses = rank_of(MPI_COMM_WORLD) == 0;
  ballast_status status = BALLAST_OK;
  if (pauses) {
    EXPECT_EQ(ballast_pause(model.context, BALLAST_FINISH), BALLAST_OK);
  }
  for (int step = 0; step < 3 * interval && status == BALLAST_OK; ++step) {
    if (pauses && step == interval) {
      EXPECT_EQ(ballast_resume(model.context), BALLAST_OK);
    }
    status = ballast_step(model.context, nullptr);
  }
  const std::string text = ballast_last_error();
  EXPECT_EQ(status, BALLAST_ERROR_CONFIG_MISMATCH) << text;
  EXPECT_TRUE(same_everywhere(MPI_COMM_WORLD, text)) << text;
  EXPECT_EQ(text, "ranks call ballast_step at different steps: " + std::to_string(interval - 1) +
                      " and " + std::to_string(2 * interval - 1));
  EXPECT_EQ(ballast_step(model.context, nullptr), status);
  EXPECT_EQ(ballast_last_error(), text);
  EXPECT_EQ(model.destroy(), BALLAST_OK) << ballast_last_error();
}

TEST(protocol, reports_of_past_epochs_are_kept_newest_first) {
  live_options o = {.config = small_config(size_of(MPI_COMM_WORLD))};
  o.config.interval = 1;
  live_model model(MPI_COMM_WORLD, o);
  while (model.closed().size() < 70) model.finish_epoch();
  ballast_epoch e = {};
  e.struct_size = sizeof(e);
  const auto total = static_cast<int>(model.closed().size());
  for (int i = 0; i < 64; ++i) {
    ASSERT_EQ(ballast_epoch_report(model.context(), i, &e), BALLAST_OK) << ballast_last_error();
    EXPECT_EQ(e.epoch, total - 1 - i);
  }
  EXPECT_EQ(ballast_epoch_report(model.context(), 64, &e), BALLAST_ERROR_STATE);
  EXPECT_EQ(ballast_epoch_report(model.context(), -1, &e), BALLAST_ERROR_STATE);
}

std::vector<std::int64_t> past_windows(live_model& model, std::size_t cells) {
  std::vector<std::int64_t> windows(cells * model.counters().past_windows);
  for (std::size_t i = 0; i < windows.size(); i += cells) {
    const auto index = static_cast<std::int32_t>((windows.size() - i) / cells - 1);
    EXPECT_EQ(ballast_past_window(model.context(), index, windows.data() + i), BALLAST_OK)
        << ballast_last_error();
  }
  return windows;
}

// The oracle of the second model has the same past: it would see plans made without.
TEST(protocol, the_windows_of_one_context_are_the_past_of_the_next) {
  live_options o = {.config = small_config(size_of(MPI_COMM_WORLD))};
  o.config.memory_windows = 4;
  const std::size_t cells = static_cast<std::size_t>(o.config.layers) * o.config.experts;
  std::vector<std::int64_t> read(cells, -1);
  std::vector<std::int64_t> kept;
  {
    live_model model(MPI_COMM_WORLD, o);
    EXPECT_EQ(ballast_past_window(model.context(), 0, read.data()), BALLAST_ERROR_STATE);
    for (int epoch = 0; epoch < 5; ++epoch) model.finish_epoch();
    kept = past_windows(model, cells);
    EXPECT_EQ(kept.size(), 3 * cells);
    EXPECT_EQ(ballast_past_window(model.context(), 3, read.data()), BALLAST_ERROR_STATE);
    EXPECT_EQ(ballast_past_window(model.context(), -1, read.data()), BALLAST_ERROR_STATE);
    EXPECT_EQ(ballast_past_window(model.context(), 0, nullptr), BALLAST_ERROR_INVALID_ARGUMENT);
    EXPECT_EQ(read, std::vector<std::int64_t>(cells, -1)) << "an output was written";
    const auto newest = std::span(kept).last(cells);
    EXPECT_EQ(std::reduce(newest.begin(), newest.end()), model.closed().back().window_tokens);
  }
  o.config.past_window_count = 3;
  o.config.past_windows = kept.data();
  live_model next(MPI_COMM_WORLD, o);
  EXPECT_EQ(past_windows(next, cells), kept);
  for (int epoch = 0; epoch < 4; ++epoch) next.finish_epoch();

  o.config.memory_windows = 2;
  live_model forgetful(MPI_COMM_WORLD, o);
  EXPECT_EQ(past_windows(forgetful, cells), std::vector(kept.end() - cells, kept.end()));
}

}  // namespace
}  // namespace ballast
