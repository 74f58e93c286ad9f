// The C boundary: every exception becomes its status, and its text is kept for the thread that met
// it.
#include "runtime/guard.hpp"

#include <gtest/gtest.h>

#include <new>
#include <stdexcept>
#include <string>
#include <system_error>
#include <thread>

#include "runtime/error.hpp"
#include "runtime/mpi_handles.hpp"

namespace ballast {
namespace {

template <typename Exception>
ballast_status status_of(const Exception& exception) {
  return guard([&] { throw exception; });
}

TEST(guard, exceptions_become_statuses_with_their_text) {
  EXPECT_EQ(status_of(error(BALLAST_ERROR_DEADLINE, "too late")), BALLAST_ERROR_DEADLINE);
  EXPECT_STREQ(last_error_text(), "too late");
  EXPECT_EQ(status_of(std::invalid_argument("layers is -1")), BALLAST_ERROR_INVALID_ARGUMENT);
  EXPECT_STREQ(last_error_text(), "layers is -1");
  EXPECT_EQ(status_of(std::bad_alloc()), BALLAST_ERROR_MEMORY);
  EXPECT_STREQ(last_error_text(), "out of memory");
  EXPECT_EQ(status_of(std::length_error("vector::reserve")), BALLAST_ERROR_MEMORY);
  EXPECT_EQ(status_of(std::system_error(EAGAIN, std::generic_category(), "thread")),
            BALLAST_ERROR_SYSTEM);
  EXPECT_NE(std::string(last_error_text()).find("thread"), std::string::npos);
  EXPECT_EQ(status_of(std::logic_error("impossible")), BALLAST_ERROR_INTERNAL);
  EXPECT_STREQ(last_error_text(), "impossible");
  EXPECT_EQ(status_of(42), BALLAST_ERROR_INTERNAL);
  EXPECT_STREQ(last_error_text(), "an unknown exception");
}

TEST(guard, success_is_ok) {
  EXPECT_EQ(guard([] {}), BALLAST_OK);
}

TEST(guard, texts_longer_than_the_buffer_are_cut) {
  EXPECT_EQ(status_of(std::invalid_argument(std::string(5000, 'x'))),
            BALLAST_ERROR_INVALID_ARGUMENT);
  EXPECT_EQ(std::string(last_error_text()), std::string(1023, 'x'));
}

TEST(guard, each_thread_has_its_own_text) {
  EXPECT_EQ(status_of(std::invalid_argument("mine")), BALLAST_ERROR_INVALID_ARGUMENT);
  std::string before, after;
  std::thread([&] {
    before = last_error_text();
    status_of(std::invalid_argument("theirs"));
    after = last_error_text();
  }).join();
  EXPECT_EQ(before, "");
  EXPECT_EQ(after, "theirs");
  EXPECT_STREQ(last_error_text(), "mine");
}

TEST(guard, null_arguments_are_named) {
  EXPECT_EQ(guard([] { require_argument(nullptr, "loads"); }), BALLAST_ERROR_INVALID_ARGUMENT);
  EXPECT_STREQ(last_error_text(), "loads is NULL");
}

TEST(guard, struct_sizes_of_known_versions_pass) {
  for (const std::size_t size : {16u, 20u, 24u})
    EXPECT_NO_THROW(require_struct_size(size, 16, 24, "config")) << size;
  for (const std::size_t size : {0u, 15u, 25u, 4000000000u})
    EXPECT_THROW(require_struct_size(size, 16, 24, "config"), error) << size;
}

TEST(guard, mpi_that_is_not_initialised_is_a_wrong_state_and_not_the_end) {
  EXPECT_EQ(guard([] { require_intracommunicator(MPI_COMM_WORLD); }), BALLAST_ERROR_STATE);
  EXPECT_STREQ(last_error_text(), "MPI is not initialised, or is finalised already");
}

TEST(guard, failed_mpi_calls_are_named) {
  EXPECT_NO_THROW(check_mpi(MPI_SUCCESS, "MPI_Send(a, b)"));
  EXPECT_EQ(guard([] { fail_expectation("x > 0", "x is positive", "/some/where/file.cpp", 12); }),
            BALLAST_ERROR_INTERNAL);
  EXPECT_STREQ(last_error_text(), "x is positive (x > 0 does not hold, file.cpp:12)");
}

}  // namespace
}  // namespace ballast
