// The planner's thread and what can go wrong with it: MPI was not told of it, one rank cannot start
// it, the policy that it calls throws, or does not come back.
#include <dlfcn.h>
#include <gtest/gtest.h>
#include <pthread.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <string>
#include <thread>

#include "tests/mpi/bare_model.hpp"
#include "tests/mpi/live_model.hpp"

namespace {

bool threads_are_refused = false;
int pretended_level = -1;
bool is_other_thread = false;

}  // namespace

// In the place of the system's, for the library too.
extern "C" int pthread_create(pthread_t* thread, const pthread_attr_t* attributes,
                              void* (*routine)(void*), void* argument) {
  if (threads_are_refused) return EAGAIN;
  static const auto the_system_s =
      reinterpret_cast<decltype(&pthread_create)>(dlsym(RTLD_NEXT, "pthread_create"));
  return the_system_s(thread, attributes, routine, argument);
}

extern "C" int MPI_Query_thread(int* level) {
  if (pretended_level < 0) return PMPI_Query_thread(level);
  *level = pretended_level;
  return MPI_SUCCESS;
}

extern "C" int MPI_Is_thread_main(int* is_main) {
  if (!is_other_thread) return PMPI_Is_thread_main(is_main);
  *is_main = 0;
  return MPI_SUCCESS;
}

namespace ballast {
namespace {

int odd_rank() { return size_of(MPI_COMM_WORLD) - 1; }
bool is_odd() { return rank_of(MPI_COMM_WORLD) == odd_rank(); }

void keep_line(void* user, std::int32_t, const char* text) {
  *static_cast<std::string*>(user) += std::string(text) + "\n";
}

// Whose log is kept for as long as anything may be logged.
struct kept_log {
  std::string log;
};
struct logged_model : kept_log, bare_model {
  logged_model() : bare_model(MPI_COMM_WORLD, small_config(size_of(MPI_COMM_WORLD))) {
    config.log = keep_line;
    config.log_user = &log;
  }
  ballast_epoch newest_epoch() const {
    ballast_epoch epoch = {};
    epoch.struct_size = sizeof(epoch);
    EXPECT_EQ(ballast_epoch_report(context, 0, &epoch), BALLAST_OK) << ballast_last_error();
    return epoch;
  }
};

TEST(planner_faults, too_low_a_thread_level_is_a_warning) {
  const auto log_with = [](int level, bool other) {
    pretended_level = level;
    is_other_thread = other;
    logged_model model;
    EXPECT_EQ(model.create(), BALLAST_OK) << ballast_last_error();
    EXPECT_EQ(model.destroy(), BALLAST_OK) << ballast_last_error();
    pretended_level = -1;
    is_other_thread = false;
    return model.log;
  };
  EXPECT_NE(log_with(MPI_THREAD_SINGLE, false).find("MPI_THREAD_SINGLE"), std::string::npos);
  EXPECT_EQ(log_with(MPI_THREAD_FUNNELED, false), "");
  EXPECT_NE(log_with(MPI_THREAD_FUNNELED, true).find("another thread"), std::string::npos);
  EXPECT_EQ(log_with(MPI_THREAD_SERIALIZED, true), "");
}

TEST(planner_faults, a_thread_that_one_rank_cannot_start_fails_all) {
  bare_model model(MPI_COMM_WORLD, small_config(size_of(MPI_COMM_WORLD)));
  ASSERT_EQ(model.create(), BALLAST_OK) << ballast_last_error();
  ASSERT_EQ(model.load(), BALLAST_OK) << ballast_last_error();
  threads_are_refused = is_odd();
  const ballast_status status = model.start();
  threads_are_refused = false;
  const std::string text = ballast_last_error();
  EXPECT_EQ(status, BALLAST_ERROR_SYSTEM) << text;
  EXPECT_EQ(text.find("rank " + std::to_string(odd_rank()) + ": the planner's thread "), 0u)
      << text;
  EXPECT_TRUE(same_everywhere(MPI_COMM_WORLD, text)) << text;
  EXPECT_EQ(ballast_step(model.context, nullptr), BALLAST_ERROR_STATE);
  EXPECT_EQ(model.start(), BALLAST_ERROR_STATE);
  EXPECT_EQ(model.destroy(), BALLAST_OK) << ballast_last_error();
}

std::int32_t throw_if_odd(void* is_odd, const ballast_policy_question*, std::int32_t*,
                          std::int32_t*) {
  if (is_odd != nullptr) throw 42;
  return BALLAST_POLICY_DONE;
}

// A policy whose `user` is not NULL on the odd rank.
void register_policy_named(const char* name, ballast_policy_function function) {
  static char odd = 0;
  const ballast_policy policy = {sizeof(policy), name, nullptr, function,
                                 is_odd() ? &odd : nullptr};
  ASSERT_EQ(ballast_policy_register(&policy), BALLAST_OK) << ballast_last_error();
}

TEST(planner_faults, a_policy_that_throws_anything_drops_the_epoch) {
  register_policy_named("throws", throw_if_odd);
  logged_model model;
  model.config.policy = "throws";
  ASSERT_EQ(model.begin(), BALLAST_OK) << ballast_last_error();
  ballast_step_result result = {};
  result.struct_size = sizeof(result);
  for (int i = 0; i < 100000 && result.epoch_closed == 0; ++i) {
    model.record(1, i);
    ASSERT_EQ(ballast_step(model.context, &result), BALLAST_OK) << ballast_last_error();
  }
  const ballast_epoch epoch = model.newest_epoch();
  EXPECT_EQ(epoch.outcome, BALLAST_OUTCOME_DROPPED);
  EXPECT_EQ(epoch.reason, "rank " + std::to_string(odd_rank()) + ": the planner failed");
  EXPECT_EQ(model.log.find("the planner failed: an unknown exception") != model.log.npos, is_odd())
      << model.log;
}

std::atomic<bool> may_wake = false;
std::atomic<bool> has_woken = false;

std::int32_t sleep_if_odd(void* is_odd, const ballast_policy_question*, std::int32_t*,
                          std::int32_t*) {
  for (int i = 0; i < 3000 && is_odd != nullptr && !may_wake; ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  has_woken = true;
  return BALLAST_POLICY_DONE;
}

TEST(planner_faults, an_epoch_that_commits_nothing_for_two_intervals_is_told_once) {
  register_policy_named("slow", sleep_if_odd);
  logged_model model;
  model.config.policy = "slow";
  model.config.deadline_seconds = 10;
  ASSERT_EQ(model.begin(), BALLAST_OK) << ballast_last_error();
  model.log.clear();
  const auto interval = static_cast<int>(model.config.interval);
  const auto play = [&](int steps) {
    for (int i = 0; i < steps; ++i)
      ASSERT_EQ(ballast_step(model.context, nullptr), BALLAST_OK) << ballast_last_error();
  };
  play(3 * interval - 1);
  EXPECT_EQ(model.log, "");
  std::this_thread::sleep_for(std::chrono::milliseconds(1100));
  play(5 * interval);
  EXPECT_EQ(model.log,
            rank_of(MPI_COMM_WORLD) == 0
                ? "epoch 0 has committed nothing for 16 steps, 2 intervals (phase plan)\n"
                : "");
  may_wake = true;
  EXPECT_EQ(model.destroy(), BALLAST_OK) << ballast_last_error();
  has_woken = false;
  may_wake = false;
}

// The policy goes on once the ranks have given up waiting for it.
TEST(planner_faults, a_phase_that_passes_its_deadline_names_the_rank_that_is_behind) {
  may_wake = false;
  register_policy_named("late", sleep_if_odd);
  logged_model model;
  model.config.policy = "late";
  model.config.deadline_seconds = 2;
  ASSERT_EQ(model.begin(), BALLAST_OK) << ballast_last_error();
  ballast_step_result result = {};
  result.struct_size = sizeof(result);
  while (result.epoch_closed == 0) {
    ASSERT_EQ(ballast_step(model.context, &result), BALLAST_OK) << ballast_last_error();
    if (result.phase == BALLAST_PHASE_DRAIN) may_wake = true;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  const ballast_epoch epoch = model.newest_epoch();
  const std::string reason = epoch.reason;
  EXPECT_EQ(epoch.outcome, BALLAST_OUTCOME_DROPPED) << reason;
  EXPECT_NE(reason.find(": a phase passed its deadline (plan); none is further behind than rank " +
                        std::to_string(odd_rank())),
            reason.npos)
      << reason;
  const std::string dump = "rank " + std::to_string(rank_of(MPI_COMM_WORLD)) + ": events: step ";
  EXPECT_NE(model.log.find(dump), model.log.npos) << model.log;
  may_wake = false;
  has_woken = false;
}

TEST(planner_faults, destroying_does_not_wait_beyond_the_deadline_for_a_policy) {
  register_policy_named("sleeps", sleep_if_odd);
  bare_model model(MPI_COMM_WORLD, small_config(size_of(MPI_COMM_WORLD)));
  model.config.policy = "sleeps";
  model.config.deadline_seconds = 1;
  ASSERT_EQ(model.begin(), BALLAST_OK) << ballast_last_error();
  for (int i = 0; i < model.config.interval + 3; ++i)
    ASSERT_EQ(ballast_step(model.context, nullptr), BALLAST_OK) << ballast_last_error();
  static const ballast_context* left_to_the_end;  // where a leak checker finds it
  left_to_the_end = model.context;
  const ballast_status status = model.destroy();
  const std::string text = ballast_last_error();
  EXPECT_NE(left_to_the_end, nullptr);
  if (is_odd()) {
    EXPECT_FALSE(has_woken) << "it has waited for the policy";
    EXPECT_EQ(status, BALLAST_ERROR_DEADLINE) << text;
    EXPECT_NE(text.find("the planner is at work"), text.npos) << text;
  } else {
    EXPECT_EQ(status, BALLAST_OK) << text;
  }
  may_wake = true;
}

}  // namespace
}  // namespace ballast
