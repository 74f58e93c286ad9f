// What a token costs, as engines tell it (ballast_record_time): agreed on by all ranks, and what
// epochs then make of it.
#include <gtest/gtest.h>

#include <bit>
#include <vector>

#include "policies/measured.hpp"
#include "tests/mpi/bare_model.hpp"
#include "tests/mpi/live_model.hpp"

namespace ballast {
namespace {

int rank() { return rank_of(MPI_COMM_WORLD); }
int ranks() { return size_of(MPI_COMM_WORLD); }

void tell(ballast_context* context, std::int64_t ns) {
  ASSERT_EQ(ballast_record_time(context, ns), BALLAST_OK) << ballast_last_error();
}

bool same_everywhere(double value) {
  return ballast::same_everywhere(MPI_COMM_WORLD, std::bit_cast<std::uint64_t>(value));
}

/// The picoseconds that an epoch has to come to if rank r tells `pass_ns[r]` in passes of a window
/// as long as the interval.
std::int64_t expected_ps(live_model& model, const placement& met,
                         const std::vector<std::int64_t>& pass_ns) {
  std::int32_t layers = 0, experts = 0;
  EXPECT_EQ(ballast_shape(model.context(), &layers, &experts, nullptr, nullptr), BALLAST_OK);
  std::vector<std::int64_t> loads(static_cast<std::size_t>(layers) * experts);
  EXPECT_EQ(ballast_past_window(model.context(), 0, loads.data()), BALLAST_OK);
  return measured_token_ps({loads, 8}, met, {}, pass_ns);
}

TEST(times_told, all_ranks_come_to_the_time_of_a_token_on_the_slowest) {
  live_model model(MPI_COMM_WORLD, {.config = small_config(ranks())});
  std::vector<std::int64_t> pass_ns;
  for (int r = 0; r < ranks(); ++r) pass_ns.push_back(1000 * (r + 1));
  for (int epoch = 0; epoch < 4; ++epoch) {
    placement met = model.current();
    int phase = BALLAST_PHASE_IDLE;
    while (static_cast<int>(model.closed().size()) == epoch) {
      // Not every pass, in two parts; a rank's mean is the same.
      if (rank() == 0 || epoch != 1 || model.counters().steps % 3 == 0) {
        tell(model.context(), 300);
        tell(model.context(), pass_ns[rank()] - 300);
      }
      if (phase == BALLAST_PHASE_IDLE) met = model.current();
      phase = model.step().phase;
    }
    const ballast_epoch& e = model.closed().back();
    ASSERT_EQ(e.step_triggered % 8, 7);
    EXPECT_EQ(e.token_measured, 1);
    EXPECT_GT(e.token_seconds, 0.0);
    EXPECT_TRUE(same_everywhere(e.token_seconds));
    EXPECT_TRUE(same_everywhere(e.transfer_seconds));
    EXPECT_TRUE(same_everywhere(e.seconds_saved_per_step));
    EXPECT_DOUBLE_EQ(e.token_seconds * 1e12, static_cast<double>(expected_ps(model, met, pass_ns)))
        << "epoch " << epoch;
    if (e.moves > 0) {
      EXPECT_GT(e.seconds_saved_per_step, 0.0);
      EXPECT_GT(e.payback_steps, 0);
      double longest = 0;
      for (const double seconds : e.transfer_seconds_by_link) longest = std::max(longest, seconds);
      EXPECT_GT(longest, 0.0);
      EXPECT_LE(longest, e.transfer_seconds);
    }
  }
}

TEST(times_told, one_rank_that_tells_is_enough) {
  live_model model(MPI_COMM_WORLD, {.config = small_config(ranks())});
  while (model.closed().empty()) {
    if (rank() == ranks() - 1) tell(model.context(), 5000);
    model.step();
  }
  EXPECT_EQ(model.closed()[0].token_measured, 1);
  EXPECT_TRUE(same_everywhere(model.closed()[0].token_seconds));
}

TEST(times_told, what_was_not_told_is_not_known) {
  live_model model(MPI_COMM_WORLD, {.config = small_config(ranks())});
  model.finish_epoch();
  EXPECT_EQ(model.closed()[0].token_measured, 0);
  EXPECT_EQ(model.closed()[0].token_seconds, 0.0);
  EXPECT_EQ(model.closed()[0].seconds_saved_per_step, 0.0);
  EXPECT_EQ(model.closed()[0].payback_steps, ranks() == 1 ? 0 : -1);
}

TEST(times_told, what_is_stated_stands) {
  live_options o = {.config = small_config(ranks())};
  o.config.token_ns = 5;
  live_model model(MPI_COMM_WORLD, o);
  while (model.closed().size() < 2) {
    tell(model.context(), 1000000);
    model.step();
  }
  EXPECT_EQ(model.closed()[1].token_measured, 0);
  EXPECT_DOUBLE_EQ(model.closed()[1].token_seconds, 5e-9);
}

TEST(times_told, steps_outside_the_window_do_not_count) {
  std::vector<double> seconds;
  for (const bool disturbed : {false, true}) {
    live_options o = {.config = small_config(ranks())};
    o.config.window = 3;
    live_model model(MPI_COMM_WORLD, o);
    while (model.closed().empty()) {
      const bool outside = model.counters().steps % 8 < 5;
      if (!outside || disturbed) tell(model.context(), outside ? 1000000000 : 4000);
      model.step();
    }
    seconds.push_back(model.closed()[0].token_seconds);
  }
  EXPECT_GT(seconds[0], 0.0);
  EXPECT_EQ(seconds[0], seconds[1]);
}

/// The first epoch with this horizon, if every pass takes so long.
ballast_epoch first_epoch(std::int64_t pass_ns, std::int64_t horizon) {
  ballast_config config = small_config(ranks());
  config.horizon = horizon;
  bare_model model(MPI_COMM_WORLD, config);
  EXPECT_EQ(model.begin(), BALLAST_OK) << ballast_last_error();
  ballast_step_result result = {};
  result.struct_size = sizeof(result);
  for (int step = 0; step < 100000 && result.epoch_closed == 0; ++step) {
    model.record(3, step);
    if (pass_ns > 0) tell(model.context, pass_ns);
    EXPECT_EQ(ballast_step(model.context, &result), BALLAST_OK) << ballast_last_error();
  }
  ballast_epoch epoch = {};
  epoch.struct_size = sizeof(epoch);
  EXPECT_EQ(ballast_epoch_report(model.context, 0, &epoch), BALLAST_OK) << ballast_last_error();
  return epoch;
}

TEST(times_told, moves_that_do_not_pay_within_the_horizon_are_not_made) {
  if (ranks() == 1) GTEST_SKIP() << "one rank has nothing to move";
  const ballast_epoch unknown = first_epoch(0, 1);
  EXPECT_GT(unknown.moves, 0) << unknown.reason;
  EXPECT_EQ(unknown.payback_refused, 0);
  const ballast_epoch cheap = first_epoch(1000000000, 1);  // a second a pass
  EXPECT_EQ(cheap.moves, unknown.moves) << cheap.reason;
  EXPECT_EQ(cheap.payback_refused, 0);
  EXPECT_EQ(cheap.payback_steps, 1);
  const ballast_epoch dear = first_epoch(1, 1);
  EXPECT_EQ(dear.moves, 0) << dear.reason;
  EXPECT_EQ(dear.payback_refused, 1);
  EXPECT_TRUE(dear.payback_steps < 0 || dear.payback_steps > 1) << dear.payback_steps;
}

}  // namespace
}  // namespace ballast
