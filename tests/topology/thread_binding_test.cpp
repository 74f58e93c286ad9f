// Binding keeps inside what the thread may use, off the CPU to avoid, and never fails hard.

#include "topology/thread_binding.hpp"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sched.h>

#include <algorithm>
#include <thread>
#include <vector>

namespace ballast {
namespace {

std::vector<std::int32_t> allowed_cpus() {
  cpu_set_t set;
  CPU_ZERO(&set);
  std::vector<std::int32_t> cpus;
  if (sched_getaffinity(0, sizeof set, &set) != 0) return cpus;
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (CPU_ISSET(cpu, &set)) cpus.push_back(cpu);
  }
  return cpus;
}

struct outcome {
  std::string words;
  std::vector<std::int32_t> allowed;  // after binding
};

// On a thread of its own, so that the test program itself stays unbound.
outcome bind_to(const std::vector<std::int32_t>& cpus, int avoid_cpu) {
  outcome result;
  std::thread([&] {
    result.words = bind_this_thread(cpus, avoid_cpu);
    result.allowed = allowed_cpus();
  }).join();
  return result;
}

class thread_binding : public testing::Test {
 protected:
  void SetUp() override {
    if (all_.empty()) GTEST_SKIP() << "this system has more than " << CPU_SETSIZE << " CPUs";
  }
  const std::vector<std::int32_t> all_ = allowed_cpus();
};

TEST_F(thread_binding, binds_to_one_cpu_and_says_so) {
  const outcome result = bind_to({all_.back()}, -1);
  EXPECT_EQ(result.words, fmt::format("cpus {}", all_.back()));
  EXPECT_EQ(result.allowed, std::vector<std::int32_t>{all_.back()});
}

TEST_F(thread_binding, leaves_the_cpu_to_avoid_when_others_remain) {
  if (all_.size() < 2) GTEST_SKIP() << "one CPU only";
  const outcome result = bind_to(all_, all_[0]);
  EXPECT_EQ(result.allowed, std::vector<std::int32_t>(all_.begin() + 1, all_.end()));
}

TEST_F(thread_binding, keeps_the_cpu_to_avoid_when_it_is_the_only_one) {
  const outcome result = bind_to({all_[0]}, all_[0]);
  EXPECT_EQ(result.words, fmt::format("cpus {}", all_[0]));
}

TEST_F(thread_binding, never_leaves_what_the_thread_may_use) {
  std::vector<std::int32_t> cpus = {-5, 1 << 30, 999999, all_[0], all_[0]};
  const outcome result = bind_to(cpus, -1);
  EXPECT_EQ(result.allowed, std::vector<std::int32_t>{all_[0]});
  if (all_.size() >= 2) {
    std::thread([&] {
      bind_this_thread(std::vector<std::int32_t>{all_[0]}, -1);
      EXPECT_EQ(bind_this_thread(all_, -1), fmt::format("cpus {}", all_[0]));  // cannot widen again
    }).join();
  }
}

TEST_F(thread_binding, without_a_usable_cpu_the_thread_stays_as_it_was) {
  for (const std::vector<std::int32_t>& cpus :
       {std::vector<std::int32_t>{}, {-1}, {1 << 20}, {INT32_MAX, INT32_MIN}}) {
    const outcome result = bind_to(cpus, -1);
    EXPECT_EQ(result.words.rfind("not bound: ", 0), 0u) << result.words;
    EXPECT_EQ(result.allowed, all_);
  }
}

TEST_F(thread_binding, current_cpu_is_the_one_bound_to) {
  std::thread([&] {
    bind_this_thread(std::vector<std::int32_t>{all_.back()}, -1);
    EXPECT_EQ(current_cpu(), all_.back());
  }).join();
}

}  // namespace
}  // namespace ballast
