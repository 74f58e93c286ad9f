// A child's answer, its exceptions, its crashes and its silence all come back to the caller, and no
// child stays.

#include "topology/child_process.hpp"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <stdexcept>
#include <string>
#include <thread>

namespace ballast {
namespace {

using bytes = std::vector<std::byte>;
using namespace std::chrono_literals;

bool has_children() {
  const pid_t found = waitpid(-1, nullptr, WNOHANG);
  return !(found == -1 && errno == ECHILD);
}

std::string failure(const std::function<bytes()>& make, std::chrono::milliseconds deadline = 10s) {
  try {
    run_in_child(make, deadline);
  } catch (const std::runtime_error& error) {
    return error.what();
  }
  return "answered";
}

TEST(child_process, brings_back_answers_of_any_size) {
  for (const std::size_t size : {0u, 1u, 65535u, 65536u, 3000017u}) {
    bytes expected(size);
    for (std::size_t i = 0; i < size; ++i) expected[i] = static_cast<std::byte>(i * 31 >> 3);
    EXPECT_EQ(run_in_child([&] { return expected; }, 10s), expected) << size;
  }
  EXPECT_FALSE(has_children());
}

TEST(child_process, changes_nothing_in_the_parent) {
  int value = 1;
  run_in_child(
      [&] {
        value = 2;
        return bytes{};
      },
      10s);
  EXPECT_EQ(value, 1);
}

TEST(child_process, brings_back_what_was_thrown) {
  try {
    run_in_child([]() -> bytes { throw std::invalid_argument("expert 7 is unwell"); }, 10s);
    FAIL() << "nothing was thrown";
  } catch (const std::invalid_argument& error) {
    EXPECT_STREQ(error.what(), "expert 7 is unwell");
  }
  EXPECT_EQ(failure([]() -> bytes { throw std::logic_error("a mistake of ours"); }),
            "a mistake of ours");
  EXPECT_EQ(failure([]() -> bytes { throw 7; }), "crashed (Aborted)");
  EXPECT_FALSE(has_children());
}

TEST(child_process, says_that_the_child_crashed_and_stays_alive) {
  EXPECT_EQ(failure([]() -> bytes {
              raise(SIGSEGV);
              return {};
            }),
            "crashed (Segmentation fault)");
  EXPECT_EQ(failure([]() -> bytes { std::abort(); }), "crashed (Aborted)");
  EXPECT_EQ(failure([]() -> bytes { _exit(3); }), "ended without an answer");
  EXPECT_FALSE(has_children());
}

TEST(child_process, does_not_show_the_child_s_complaints) {
  testing::internal::CaptureStderr();
  run_in_child(
      [] {
        std::fprintf(stderr, "hwloc is not amused\n");
        std::fflush(stderr);
        return bytes{};
      },
      10s);
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "");
}

TEST(child_process, ends_a_child_that_does_not_answer) {
  const auto begin = std::chrono::steady_clock::now();
  EXPECT_EQ(failure(
                []() -> bytes {
                  for (;;) std::this_thread::sleep_for(1s);
                },
                200ms),
            "no answer within 200 ms");
  EXPECT_LT(std::chrono::steady_clock::now() - begin, 5s);
  EXPECT_FALSE(has_children());
}

TEST(child_process, works_where_the_program_ignores_its_children) {
  const auto before = signal(SIGCHLD, SIG_IGN);
  EXPECT_EQ(run_in_child([] { return bytes(5); }, 10s).size(), 5u);
  EXPECT_EQ(failure([]() -> bytes { std::abort(); }), "ended without an answer");
  signal(SIGCHLD, before);
}

}  // namespace
}  // namespace ballast
