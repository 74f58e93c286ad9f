// What moves buy under `flow`, and what planning costs. One layer after a drift: loads w = 1e5
// exp(N(0,1)) per expert, placement by the greedy, then every load times exp(d N(0,1)); max / mean
// of the rank loads, mean over seeds, for budgets of 0 to 64 moves, its standard error, and what
// the best of all single moves reaches. Then times per layer, and a cold start. One thread.
//
// flow_bench [seeds] [first seed]

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <random>
#include <span>
#include <vector>

#include "policies/flow_shares.hpp"
#include "policies/flow_state.hpp"
#include "policies/plan.hpp"
#include "tests/policies/synthetic_loads.hpp"

namespace {

using namespace ballast;

constexpr int budgets[] = {0, 1, 2, 4, 8, 16, 32, 64};
constexpr int budget_count = 8;
constexpr int runs = 5;  // of which the fastest counts

struct shape {
  int experts, ranks, slots_per_rank;
};

struct drift_case {
  shape size;
  double drift;
  double limits[budget_count];  // the prototypes' figures, or the bar where it is lower; 0: none
};

const drift_case drift_cases[] = {
    {{256, 32, 9}, 0.2, {1.0716, 1.0374, 1.0219, 1.0069, 1.0015, 1.0003, 1.0003, 1.0003}},
    {{256, 32, 9}, 0.5, {1.3187, 1.1705, 1.1198, 1.0754, 1.0387, 1.0048, 1.0004, 1.0004}},
    {{256, 64, 5}, 0.2, {1.1659, 1.0855, 1.0602, 1.0444, 1.0262, 1.0090, 1.0014, 1.0004}},
    {{256, 64, 5}, 0.5, {1.5630, 1.3319, 1.2976, 1.1975, 1.1157, 1.0563, 1.0238, 1.0214}},
    {{128, 64, 3}, 0.2, {1.2253, 1.1838, 1.1342, 1.0845, 1.0396, 1.0117, 1.0020, 1.0003}},
    {{256, 72, 4}, 0.2, {1.3240, 1.2085, 1.1826, 1.1655, 1.1253, 1.0874, 1.0558, 1.0261}},
    {{256, 72, 4}, 0.5, {2.0808, 1.6118, 1.5021, 1.3981, 1.2826, 1.2155, 1.1544, 1.1330}},
    {{256, 128, 3}, 0.2, {1.2868, 1.2047, 1.1594, 1.1189, 1.1039, 1.0688, 1.0527, 1.0448}},
    {{256, 128, 3}, 0.5, {1.9045, 1.6116, 1.4796, 1.3319, 1.2576, 1.2019, 1.1591, 1.1578}},
};

plan_request request_of(const placement& current, const std::vector<std::int64_t>& loads,
                        const cluster_map& cluster, const char* policy, std::int64_t moves) {
  plan_request request;
  request.loads = loads;
  request.current = &current;
  request.cluster = &cluster;
  request.policy = policy;
  request.limits.max_moves_per_layer = moves;
  return request;
}

struct estimate {
  double mean = 0;
  double error = 0;  // of the mean, one standard deviation
};

estimate estimate_of(std::span<const double> values) {
  const auto count = static_cast<double>(values.size());
  estimate result;
  for (const double value : values) result.mean += value / count;
  for (const double value : values) result.error += (value - result.mean) * (value - result.mean);
  result.error = std::sqrt(result.error / count / std::max(count - 1, 1.0));
  return result;
}

estimate over_mean(const plan& result) {
  std::vector<double> values;
  for (const layer_outcome& layer : result.layers) {
    values.push_back(static_cast<double>(layer.max_after) * result.target.layout().ranks() /
                     static_cast<double>(layer.total));
  }
  return estimate_of(values);
}

struct drifted {
  std::vector<std::int64_t> loads;
  placement current;
};

/// The greedy: a free slot at a time to the expert whose replicas carry most, then the heaviest
/// replica first to the lightest rank with room that does not hold its expert.
void place_greedily(const std::vector<double>& weights, const shape& size,
                    std::span<std::int32_t> slots) {
  std::vector<int> counts(weights.size(), 1);
  const auto each = [&](int expert) { return weights[expert] / counts[expert]; };
  for (int extra = size.ranks * size.slots_per_rank - size.experts; extra > 0; --extra) {
    int heaviest = 0;
    for (int expert = 1; expert < size.experts; ++expert) {
      if (each(expert) > each(heaviest)) heaviest = expert;
    }
    ++counts[heaviest];
  }
  std::vector<int> replicas;
  for (int expert = 0; expert < size.experts; ++expert)
    replicas.insert(replicas.end(), counts[expert], expert);
  std::stable_sort(replicas.begin(), replicas.end(),
                   [&](int a, int b) { return each(a) > each(b); });
  std::vector<double> load(static_cast<std::size_t>(size.ranks), 0);
  std::vector<int> held(load.size(), 0);
  for (const int expert : replicas) {
    int best = -1;
    for (int rank = 0; rank < size.ranks; ++rank) {
      const auto own = slots.subspan(rank * size.slots_per_rank, held[rank]);
      if (held[rank] == size.slots_per_rank ||
          std::find(own.begin(), own.end(), expert) != own.end())
        continue;
      if (best < 0 || load[rank] < load[best]) best = rank;
    }
    if (best < 0) continue;  // only ranks that hold it have room: the slot stays empty
    slots[best * size.slots_per_rank + held[best]++] = expert;
    load[best] += each(expert);
  }
}

/// One layer per seed.
drifted drift(const shape& size, double by, int seeds, unsigned first) {
  const slot_layout layout = slot_layout::uniform(size.ranks, size.slots_per_rank);
  drifted result{{}, placement(seeds, size.experts, layout)};
  for (int layer = 0; layer < seeds; ++layer) {
    std::mt19937_64 random(first + static_cast<unsigned>(layer));
    std::normal_distribution<double> normal;
    std::vector<double> weights;
    for (int expert = 0; expert < size.experts; ++expert)
      weights.push_back(1e5 * std::exp(normal(random)));
    place_greedily(weights, size, result.current.experts_of(layer));
    set_equal_shares(result.current.experts_of(layer), size.experts,
                     result.current.shares_of(layer));
    for (const double weight : weights)
      result.loads.push_back(std::llround(weight * std::exp(by * normal(random))));
  }
  return result;
}

/// Max / mean as it is, and after the best of all moves that put an expert into a slot whose own
/// has another replica, free shares: no other single move keeps every expert.
void best_single_moves(const drifted& start, const shape& size, double (&best)[2]) {
  flow_rules rules;
  rules.hosts = size.ranks;
  rules.host_speeds = size.ranks;
  flow_state state;
  share_solver solver;
  std::vector<double> reached[2];
  const slot_layout& layout = start.current.layout();
  for (int layer = 0; layer < start.current.layers(); ++layer) {
    state.start(std::span(start.loads).subspan(layer * size.experts, size.experts), layout,
                start.current.experts_of(layer), rules);
    const auto fullest_after = [&](std::int32_t slot, std::int32_t expert) {
      state.begin_trial();
      if (slot >= 0) state.replace(slot, expert);
      state.settle();
      solver.minimise_fullest(state);
      const auto fullest = static_cast<double>(state.fullest());
      state.roll_back();
      return fullest / static_cast<double>(state.mean());
    };
    double least = fullest_after(-1, no_expert);
    reached[0].push_back(least);
    for (std::int32_t slot = 0; slot < layout.slots(); ++slot) {
      const std::int32_t leaving = state.expert(slot);
      if (leaving != no_expert && state.replicas(leaving) < 2) continue;
      for (std::int32_t expert = 0; expert < size.experts; ++expert) {
        if (state.holds(layout.rank_of(slot), expert)) continue;
        least = std::min(least, fullest_after(slot, expert));
      }
    }
    reached[1].push_back(least);
  }
  for (int moves = 0; moves < 2; ++moves) best[moves] = estimate_of(reached[moves]).mean;
}

/// Of processor time: other work on the machine does not count.
double milliseconds_since(std::clock_t start) {
  return 1e3 * static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC;
}

void drift_table(int seeds, unsigned first) {
  std::printf(
      "# max / mean after one rebalance, mean of %d seeds; below: prototype, standard error, best "
      "of "
      "all single moves; ms per layer\n",
      seeds);
  std::printf("%-12s %4s %8s", "shape", "d", "row");
  for (const int budget : budgets) std::printf(" %7d", budget);
  std::printf("  re-plan  moves\n");
  for (const drift_case& now : drift_cases) {
    const cluster_map cluster = testing::even_cluster(now.size.ranks / 8, 8);
    const drifted start = drift(now.size, now.drift, seeds, first);
    estimate reached[budget_count];
    double moved[budget_count] = {};
    double took[budget_count] = {};
    for (int i = 0; i < budget_count; ++i) {
      const plan_request request =
          request_of(start.current, start.loads, cluster, "flow", budgets[i]);
      plan result;
      for (int run = 0; run < runs; ++run) {
        const std::clock_t began = std::clock();
        result = decide(request);
        const double ms = milliseconds_since(began) / seeds;
        took[i] = run == 0 ? ms : std::min(took[i], ms);
      }
      report(request, result);
      reached[i] = over_mean(result);
      moved[i] = static_cast<double>(result.moves()) / seeds;
    }
    const plan fresh =
        make_plan(request_of(start.current, start.loads, cluster, "deepseek-global", -1));
    const double again = over_mean(fresh).mean;
    double best[2] = {};
    best_single_moves(start, now.size, best);
    const double again_moves = static_cast<double>(fresh.moves()) / seeds;
    char name[32];
    std::snprintf(name, sizeof name, "%d/%d/%d", now.size.experts, now.size.ranks,
                  now.size.slots_per_rank);
    std::printf("%-12s %4.1f %8s", name, now.drift, "flow");
    for (int i = 0; i < budget_count; ++i) {
      std::printf(" %6.4f%c", reached[i].mean, reached[i].mean > now.limits[i] ? '!' : ' ');
    }
    std::printf("  %6.4f %6.1f\n%-12s %4s %8s", again, again_moves, "", "", "proto");
    for (const double limit : now.limits) std::printf(" %6.4f ", limit);
    std::printf("\n%-12s %4s %8s", "", "", "error");
    for (const estimate& of : reached) std::printf(" %6.4f ", of.error);
    std::printf("\n%-12s %4s %8s", "", "", "best");
    for (const double of : best) std::printf(" %6.4f ", of);
    std::printf("\n%-12s %4s %8s", "", "", "moves");
    for (const double moves : moved) std::printf(" %6.1f ", moves);
    std::printf("\n%-12s %4s %8s", "", "", "ms");
    for (const double ms : took) std::printf(" %6.3f ", ms);
    std::printf("\n");
  }
}

void cold_row(const shape& size, unsigned seed) {
  const cluster_map cluster = testing::even_cluster(size.ranks / 8, 8);
  const slot_layout layout = slot_layout::uniform(size.ranks, size.slots_per_rank);
  const std::vector<std::int32_t> usable(static_cast<std::size_t>(size.ranks), size.slots_per_rank);
  const placement start = initial_placement(1, size.experts, layout, usable);
  const std::vector<std::int64_t> loads = testing::log_normal_loads(seed, 1, size.experts);
  const plan_request request = request_of(start, loads, cluster, "flow", -1);
  plan result;
  double ms = 0;
  for (int run = 0; run < runs; ++run) {
    const std::clock_t began = std::clock();
    result = decide(request);
    ms = run == 0 ? milliseconds_since(began) : std::min(ms, milliseconds_since(began));
  }
  report(request, result);
  const plan fresh = make_plan(request_of(start, loads, cluster, "deepseek-global", -1));
  const auto bound = static_cast<double>(result.layers[0].bound) /
                     static_cast<double>(result.layers[0].total) * size.ranks;
  std::printf(
      "%5d/%d/%d  flow %.4f  %5lld moves  %8.3f ms   deepseek %.4f  %5lld moves   bound %.4f\n",
      size.experts, size.ranks, size.slots_per_rank, over_mean(result).mean,
      static_cast<long long>(result.moves()), ms, over_mean(fresh).mean,
      static_cast<long long>(fresh.moves()), bound);
}

}  // namespace

int main(int argc, char** argv) {
  const int seeds = argc > 1 ? std::atoi(argv[1]) : 10;
  const unsigned first = argc > 2 ? static_cast<unsigned>(std::atoi(argv[2])) : 1;
  drift_table(seeds, first);
  std::printf("# cold start: from the default placement, no limits\n");
  for (const shape& size :
       {shape{256, 32, 9}, shape{256, 64, 5}, shape{128, 64, 3}, shape{256, 72, 4},
        shape{256, 128, 3}, shape{384, 128, 4}, shape{256, 144, 2}, shape{4096, 1024, 8}}) {
    for (unsigned seed = first; seed < first + 2; ++seed) cold_row(size, seed);
  }
}
