// Plan time of deepseek-global for 58 layers, 256 experts, 288 slots on 32 ranks against the plain
// greedy, one core, and whether the balance is the same. Prints one row per seed; loads are about
// log-normal with sigma 1.

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "jobs/bench/plain_greedy.hpp"
#include "policies/plan.hpp"
#include "tests/policies/synthetic_loads.hpp"

namespace {

constexpr int layers = 58;
constexpr int experts = 256;
constexpr int ranks = 32;
constexpr int slots_per_rank = 9;

template <class Work>
double median_microseconds(Work&& work) {
  std::vector<double> times;
  for (int run = 0; run < 41; ++run) {
    const auto start = std::chrono::steady_clock::now();
    work();
    const std::chrono::duration<double, std::micro> elapsed =
        std::chrono::steady_clock::now() - start;
    times.push_back(elapsed.count());
  }
  std::nth_element(times.begin(), times.begin() + 20, times.end());
  return times[20];
}

double mean_balance(const std::vector<std::int64_t>& loads, const ballast::placement& target) {
  double sum = 0;
  for (int layer = 0; layer < layers; ++layer) {
    sum += ballast::bench::plain_balance(std::span(loads).subspan(layer * experts, experts),
                                         target.experts_of(layer), ranks);
  }
  return sum / layers;
}

}  // namespace

int main() {
  using namespace ballast;
  const slot_layout layout = slot_layout::uniform(ranks, slots_per_rank);
  const std::vector<std::int32_t> usable(ranks, slots_per_rank);
  const placement initial = initial_placement(layers, experts, layout, usable);
  const cluster_map cluster = testing::even_cluster(4, 8);
  std::printf("# layers %d experts %d ranks %d slots %d, 1 thread, median of 41\n", layers, experts,
              ranks, ranks * slots_per_rank);
  std::printf(
      "# seed  decide_us  compat_us  report_us  greedy_us  ratio   balance  compat   greedy  "
      "#wrong\n");
  int wrong = 0;
  for (std::uint64_t seed = 1; seed <= 5; ++seed) {
    const std::vector<std::int64_t> loads = testing::log_normal_loads(seed, layers, experts);
    plan_request request;
    request.loads = loads;
    request.current = &initial;
    request.cluster = &cluster;
    request.policy = "deepseek-global";
    plan decided;
    const double decide_us = median_microseconds([&] { decided = decide(request); });
    const double report_us = median_microseconds([&] { report(request, decided); });
    plan_request published = request;
    published.compatible = true;
    plan compatible;
    const double compat_us = median_microseconds([&] { compatible = decide(published); });
    std::vector<std::int32_t> last;
    const double greedy_us = median_microseconds([&] {
      for (int layer = 0; layer < layers; ++layer) {
        last = bench::plain_greedy(std::span(loads).subspan(layer * experts, experts), ranks,
                                   slots_per_rank);
      }
    });
    double greedy = 0;
    for (int layer = 0; layer < layers; ++layer) {
      const auto layer_loads = std::span(loads).subspan(layer * experts, experts);
      greedy += bench::plain_balance(
          layer_loads, bench::plain_greedy(layer_loads, ranks, slots_per_rank), ranks);
    }
    greedy /= layers;
    const double apart = mean_balance(loads, decided.target);
    const double exact = mean_balance(loads, compatible.target);
    const bool same = std::abs(exact - greedy) < 5e-5 && apart > greedy - 1e-3;
    wrong += same ? 0 : 1;
    std::printf("  %4llu  %9.1f  %9.1f  %9.1f  %9.1f  %5.2f  %8.5f  %7.5f  %7.5f  %6d\n",
                static_cast<unsigned long long>(seed), decide_us, compat_us, report_us, greedy_us,
                greedy_us / decide_us, apart, exact, greedy, same ? 0 : 1);
  }
  return wrong == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
