// Exit codes that scripts rely on.
#include "jobs/exit_code.hpp"

#include <gtest/gtest.h>

#include <functional>
#include <new>

namespace ballast {
namespace {

TEST(exit_code, values_are_the_documented_ones) {
  EXPECT_EQ(static_cast<int>(exit_code::ok), 0);
  EXPECT_EQ(static_cast<int>(exit_code::usage), 64);
  EXPECT_EQ(static_cast<int>(exit_code::bad_input), 65);
  EXPECT_EQ(static_cast<int>(exit_code::internal), 70);
  EXPECT_EQ(static_cast<int>(exit_code::system), 71);
  EXPECT_EQ(static_cast<int>(exit_code::temporary), 75);
  EXPECT_EQ(static_cast<int>(exit_code::mismatch), 78);
  EXPECT_EQ(static_cast<int>(exit_code::terminated), 143);
}

TEST(exit_code, every_status_has_one) {
  EXPECT_EQ(exit_code_of(BALLAST_OK), exit_code::ok);
  EXPECT_EQ(exit_code_of(BALLAST_ERROR_INVALID_ARGUMENT), exit_code::bad_input);
  EXPECT_EQ(exit_code_of(BALLAST_ERROR_CONFIG_MISMATCH), exit_code::mismatch);
  EXPECT_EQ(exit_code_of(BALLAST_ERROR_STATE), exit_code::internal);
  EXPECT_EQ(exit_code_of(BALLAST_ERROR_MPI), exit_code::system);
  EXPECT_EQ(exit_code_of(BALLAST_ERROR_DEADLINE), exit_code::temporary);
  EXPECT_EQ(exit_code_of(BALLAST_ERROR_MEMORY), exit_code::system);
  EXPECT_EQ(exit_code_of(BALLAST_ERROR_SYSTEM), exit_code::system);
  EXPECT_EQ(exit_code_of(BALLAST_ERROR_INTERNAL), exit_code::internal);
  EXPECT_EQ(exit_code_of(static_cast<ballast_status>(-99)), exit_code::internal);
}

TEST(exit_code, check_throws_the_library_s_text) {
  EXPECT_NO_THROW(check(BALLAST_OK));
  try {
    check(ballast_plan_create(nullptr, nullptr));
    FAIL() << "did not throw";
  } catch (const job_error& e) {
    EXPECT_EQ(e.code(), exit_code::bad_input);
    EXPECT_STREQ(e.what(), "request is NULL");
  }
}

TEST(exit_code, exceptions_are_classified) {
  const auto classify = [](const std::function<void()>& fail) {
    try {
      fail();
    } catch (...) {
      return current_job_error();
    }
    return job_error(exit_code::ok, "");
  };
  const job_error own = classify([] { throw job_error(exit_code::usage, "give a file"); });
  EXPECT_EQ(own.code(), exit_code::usage);
  EXPECT_STREQ(own.what(), "give a file");
  EXPECT_EQ(classify([] { throw std::invalid_argument("x"); }).code(), exit_code::bad_input);
  EXPECT_EQ(classify([] { throw std::bad_alloc(); }).code(), exit_code::system);
  EXPECT_EQ(classify([] { throw std::runtime_error("x"); }).code(), exit_code::internal);
  EXPECT_STREQ(classify([] { throw std::runtime_error("the text"); }).what(), "the text");
}

}  // namespace
}  // namespace ballast
