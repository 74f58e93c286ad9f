// What can go wrong with the planner's thread: one rank cannot start it.
#include <dlfcn.h>
#include <gtest/gtest.h>
#include <pthread.h>

#include <cerrno>
#include <string>

#include "tests/mpi/bare_model.hpp"
#include "tests/mpi/live_model.hpp"

namespace {

bool threads_are_refused = false;

}  // namespace

// In the place of the system's, for the library too.
extern "C" int pthread_create(pthread_t* thread, const pthread_attr_t* attributes,
                              void* (*routine)(void*), void* argument) {
  if (threads_are_refused) return EAGAIN;
  static const auto the_system_s =
      reinterpret_cast<decltype(&pthread_create)>(dlsym(RTLD_NEXT, "pthread_create"));
  return the_system_s(thread, attributes, routine, argument);
}

namespace ballast {
namespace {

int odd_rank() { return size_of(MPI_COMM_WORLD) - 1; }

TEST(planner_faults, a_thread_that_one_rank_cannot_start_fails_all) {
  bare_model model(MPI_COMM_WORLD, small_config(size_of(MPI_COMM_WORLD)));
  ASSERT_EQ(model.create(), BALLAST_OK) << ballast_last_error();
  ASSERT_EQ(model.load(), BALLAST_OK) << ballast_last_error();
  threads_are_refused = rank_of(MPI_COMM_WORLD) == odd_rank();
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

}  // namespace
}  // namespace ballast
