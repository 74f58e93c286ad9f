// CPU time, balance and moves of the policies that other balancers publish, on the shapes and loads
// (log-normal, sigma 1) that those were measured with. One thread, all layers of a model in a call,
// starting from experts in order; CPU time of the process, median of the runs.
//
// policies_bench [windows of a series, 0] [runs, 11]

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <random>
#include <vector>

#include "policies/plan.hpp"
#include "tests/policies/synthetic_loads.hpp"

namespace {

using namespace ballast;

struct shape {
  const char* name;
  int layers, experts, nodes, ranks, slots_per_rank;
};

const shape shapes[] = {
    {"dsv3_ep32_288_glob", 58, 256, 4, 32, 9}, {"dsv3_ep64_320_glob", 58, 256, 8, 64, 5},
    {"dsv3_ep144_288", 58, 256, 18, 144, 2},   {"dsv3_ep320_320", 58, 256, 40, 320, 1},
    {"qwen3_ep16_144", 94, 128, 2, 16, 9},     {"qwen3_ep64_192", 94, 128, 8, 64, 3},
    {"kimi_ep128_512", 60, 384, 16, 128, 4},
};
const char* const policies[] = {"deepseek", "deepseek-vec", "trtllm", "swift", "flash"};

double cpu_ms() {
  timespec time{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) * 1e3 + static_cast<double>(time.tv_nsec) * 1e-6;
}

int measure(const shape& s, const char* policy, int windows, int runs) {
  std::mt19937_64 random(1);
  std::normal_distribution<double> normal;
  std::vector<std::int64_t> loads;
  for (int i = 0; i < s.layers * s.experts; ++i) {
    loads.push_back(static_cast<std::int64_t>(1e5 * std::exp(normal(random))));
  }
  std::vector<std::int64_t> series;
  for (int window = 0; window < windows; ++window) {
    for (const std::int64_t load : loads) {
      series.push_back(
          static_cast<std::int64_t>(static_cast<double>(load) * std::exp(0.3 * normal(random))));
    }
  }
  const slot_layout layout = slot_layout::uniform(s.ranks, s.slots_per_rank);
  const std::vector<std::int32_t> usable(static_cast<std::size_t>(s.ranks), s.slots_per_rank);
  const placement current = initial_placement(s.layers, s.experts, layout, usable);
  const cluster_map cluster = testing::even_cluster(s.nodes, s.ranks / s.nodes);
  plan_request request;
  request.loads = loads;
  request.series = series;
  request.current = &current;
  request.cluster = &cluster;
  request.policy = policy;
  std::vector<double> times;
  plan made;
  for (int run = 0; run < runs; ++run) {
    const double start = cpu_ms();
    made = decide(request);
    times.push_back(cpu_ms() - start);
  }
  std::sort(times.begin(), times.end());
  report(request, made);
  double balance = 0;
  for (const layer_outcome& outcome : made.layers) {
    balance += static_cast<double>(outcome.total) / s.ranks /
               static_cast<double>(outcome.max_after) / s.layers;
  }
  const bool wrong = !why_illegal(made.target, false).empty();
  std::printf("  %-18s  %-12s  %8.2f  %8.2f  %7.4f  %6.1f  %5d\n", s.name, policy, times.front(),
              times[times.size() / 2], balance,
              100.0 * static_cast<double>(made.moves()) / (s.layers * layout.slots()),
              wrong ? 1 : 0);
  return wrong ? 1 : 0;
}

}  // namespace

int main(int argc, char** argv) {
  const int windows = argc > 1 ? std::atoi(argv[1]) : 0;
  const int runs = std::max(argc > 2 ? std::atoi(argv[2]) : 11, 1);
  std::printf("# windows %d, runs %d, 1 thread; balance: mean over layers of mean / max\n", windows,
              runs);
  std::printf("# shape               policy         cpu min    median  balance   moves  #wrong\n");
  std::printf("#                                       (ms)      (ms)              (%%)\n");
  int wrong = 0;
  for (const shape& s : shapes) {
    for (const char* policy : policies) wrong += measure(s, policy, windows, runs);
  }
  return wrong == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
