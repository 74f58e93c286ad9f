// The objective activations on real decode steps: planned on one window, judged step by step on the
// next one by the experts that the fullest rank has to read.

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>

#include "jobs/loads/trace.hpp"
#include "policies/plan.hpp"
#include "tests/policies/synthetic_loads.hpp"

namespace ballast {
namespace {

constexpr int ranks = 8;
constexpr int slots_per_rank = 5;
constexpr int window_steps = 48;

struct reading {
  double fullest = 0;  ///< experts read by the rank that reads most, mean over steps and layers
  double mean = 0;     ///< by a rank
};

/// The most a low-discrepancy split can spread: n tokens reach the n replicas of largest share.
reading read_of(load_source& trace, std::int64_t first, const placement& target) {
  const auto experts = static_cast<std::size_t>(target.experts());
  std::vector<std::int64_t> counts(experts * target.layers());
  reading sum;
  for (std::int64_t step = first; step < first + window_steps; ++step) {
    trace.counts(step, counts);
    for (int layer = 0; layer < target.layers(); ++layer) {
      std::vector<int> read(ranks, 0);
      const replica_lists replicas = list_replicas(target.experts_of(layer), target.experts());
      for (std::size_t e = 0; e < experts; ++e) {
        std::vector<std::int32_t> slots(
            replicas.slot_of_replica.begin() + replicas.first_replica[e],
            replicas.slot_of_replica.begin() + replicas.first_replica[e + 1]);
        const auto shares = target.shares_of(layer);
        std::stable_sort(slots.begin(), slots.end(),
                         [&](auto a, auto b) { return shares[a] > shares[b]; });
        std::int64_t tokens = counts[layer * experts + e];
        for (const std::int32_t slot : slots) {
          if (tokens-- > 0 && shares[slot] > 0) ++read[slot / slots_per_rank];
        }
      }
      sum.fullest += *std::ranges::max_element(read);
      for (const int count : read) sum.mean += static_cast<double>(count) / ranks;
    }
  }
  return {sum.fullest / window_steps / target.layers(), sum.mean / window_steps / target.layers()};
}

/// Replans at every window from where the last plan left off; the mean over the windows after them.
reading replay(load_source& trace, const char* policy, plan_objective objective) {
  const slot_layout layout = slot_layout::uniform(ranks, slots_per_rank);
  placement current = initial_placement(trace.layers(), trace.experts(), layout,
                                        std::vector<std::int32_t>(ranks, slots_per_rank));
  const cluster_map cluster = testing::even_cluster(1, ranks);
  std::vector<std::int64_t> loads(static_cast<std::size_t>(trace.layers()) * trace.experts());
  reading sum;
  int windows = 0;
  for (std::int64_t first = 0; first + 2 * window_steps <= trace.steps(); first += window_steps) {
    sum_window(trace, {first, first + window_steps}, loads);
    plan_request request;
    request.loads = loads;
    request.current = &current;
    request.cluster = &cluster;
    request.policy = policy;
    request.objective = objective;
    request.passes = objective == plan_objective::activations ? window_steps : 0;
    current = decide(request).target;
    const reading next = read_of(trace, first + window_steps, current);
    sum.fullest += next.fullest;
    sum.mean += next.mean;
    ++windows;
  }
  return {sum.fullest / windows, sum.mean / windows};
}

TEST(decode_trace, the_objective_activations_reads_fewer_experts) {
  const std::string path =
      std::string(BALLAST_SHARED_DIR) + "/data/traces/gptoss20b_decode_b64_mixed.json.gz";
  if (!std::filesystem::exists(path)) GTEST_SKIP() << "no " << path;
  const std::unique_ptr<load_source> trace = open_trace(path);
  for (const char* policy : {"flow", "deepseek", "flash", "swift"}) {
    const reading tokens = replay(*trace, policy, plan_objective::tokens);
    const reading activations = replay(*trace, policy, plan_objective::activations);
    std::printf("%-9s tokens: fullest rank %.3f, mean %.3f; activations: %.3f, %.3f\n", policy,
                tokens.fullest, tokens.mean, activations.fullest, activations.mean);
    EXPECT_LT(activations.fullest, 0.95 * tokens.fullest) << policy;
    EXPECT_LT(activations.mean, 0.95 * tokens.mean) << policy;
  }
}

}  // namespace
}  // namespace ballast
