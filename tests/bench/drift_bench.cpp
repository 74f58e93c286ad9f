// Rebalancing at every window of a series: plan on the windows up to t, score the plan on window t
// (fit) and on window t + 1 (next), count the slots that receive an expert. Balance is mean / max
// of the rank loads, mean over layers and windows but the first three. One set of options for all
// series.
//
// drift_bench SERIES_DIRECTORY TRACE_DIRECTORY [series name part] [layers] [planned by, part]
//
// SERIES_DIRECTORY holds dsv3_drift.npy, qwen3_drift.npy and kimi_drift.npy as genloads.py of the
// shared data writes them; TRACE_DIRECTORY the recorded traces. A file that is missing is named and
// its rows are skipped.

#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <exception>
#include <filesystem>
#include <stdexcept>
#include <string>
#include <vector>

#include "jobs/loads/trace.hpp"
#include "policies/balance.hpp"
#include "policies/limits.hpp"
#include "policies/plan.hpp"
#include "policies/prediction.hpp"
#include "policies/savings.hpp"
#include "tests/policies/synthetic_loads.hpp"

namespace {

using namespace ballast;
using longs = std::vector<std::int64_t>;

constexpr std::int64_t moves_permille = 120;  // of a layer's slots, earned by each rebalance
constexpr std::int32_t saved_epochs = 8;      // so many times that are kept
constexpr int memory_windows = 32;
constexpr int unscored_windows = 3;  // at the start, as in the comparison that the bars are from

struct shape {
  const char* name;
  const char* file;
  bool recorded;
  int window_steps;
  int ranks, ranks_per_node, slots_per_rank, groups;
  double fit, next, moved_percent;  // the bar
};

const shape shapes[] = {
    {"dsv3_ep32_288_glob", "dsv3_drift.npy", false, 1, 32, 8, 9, 1, 0.97, 0.8813, 12},
    {"dsv3_ep32_288_hier", "dsv3_drift.npy", false, 1, 32, 8, 9, 8, 0.92, 0.8454, 12},
    {"qwen3_ep16_144", "qwen3_drift.npy", false, 1, 16, 8, 9, 1, 0.97, 0.8993, 12},
    {"qwen3_ep64_192", "qwen3_drift.npy", false, 1, 64, 8, 3, 1, 0.92, 0.7904, 15},
    {"dsv3_ep144_288", "dsv3_drift.npy", false, 1, 144, 8, 2, 1, 0.75, 0.6228, 20},
    {"kimi_ep128_512", "kimi_drift.npy", false, 1, 128, 8, 4, 1, 0.95, 0.8099, 15},
    {"gptoss_ep8_40_mixed", "gptoss20b_decode_b64_mixed.json.gz", true, 48, 8, 8, 5, 1, 0, 0.9312,
     7},
    {"dsv2lite_ep8_72_mixed", "dsv2lite_prefill512_mixed.json", true, 1, 8, 8, 9, 1, 0, 0.8806, 8},
};

/// [windows, layers, experts]; what does not fill a window is left out.
struct window_series {
  int layers = 0;
  int experts = 0;
  longs loads;

  std::size_t cells() const { return static_cast<std::size_t>(layers) * experts; }
  int windows() const { return static_cast<int>(loads.size() / cells()); }
  std::span<const std::int64_t> at(int first, int count) const {
    return std::span(loads).subspan(first * cells(), count * cells());
  }
};

window_series read_series(const std::string& path, int window_steps, int layers_most) {
  const auto source = open_trace(path);
  window_series series{std::min(source->layers(), layers_most), source->experts(), {}};
  longs step(static_cast<std::size_t>(source->layers()) * source->experts());
  const std::int64_t windows = source->steps() / window_steps;
  series.loads.assign(static_cast<std::size_t>(windows) * series.cells(), 0);
  for (std::int64_t number = 0; number < windows * window_steps; ++number) {
    source->counts(number, step);
    const std::size_t first = static_cast<std::size_t>(number / window_steps) * series.cells();
    for (std::size_t cell = 0; cell < series.cells(); ++cell)
      series.loads[first + cell] += step[cell];
  }
  return series;
}

double balance(std::span<const std::int64_t> loads, const placement& place) {
  const auto experts = static_cast<std::size_t>(place.experts());
  double sum = 0;
  for (int layer = 0; layer < place.layers(); ++layer) {
    const auto own = loads.subspan(layer * experts, experts);
    double total = 0;
    for (const std::int64_t load : own) total += static_cast<double>(load) * share_one;
    const auto fullest = static_cast<double>(
        fullest_rank_load(own, place.experts_of(layer), place.shares_of(layer), place.layout()));
    sum += fullest > 0 ? total / place.layout().ranks() / fullest : 1.0;
  }
  return sum / place.layers();
}

// `series_afresh`: as `series`, but the greedy re-plans everything for the last window first, and a
// few moves follow: what more moves would buy.
enum class knowledge { last_window, series, series_afresh, next_window };

constexpr std::int64_t moves_after_greedy = 20;  // a layer

/// Slots that receive an expert their rank does not hold.
std::int64_t arrivals(const placement& from, const placement& to) {
  arrival_counter counter(from.experts());
  std::int64_t sum = 0;
  for (int layer = 0; layer < from.layers(); ++layer)
    sum += counter.count(from.layout(), from.experts_of(layer), to.experts_of(layer));
  return sum;
}

struct row {
  double fit = 0, next = 0, moved = 0, moved_first = 0, plan_ms = 0;
};

row run(const shape& size, const window_series& series, const char* policy, knowledge known) {
  const slot_layout layout = slot_layout::uniform(size.ranks, size.slots_per_rank);
  const std::vector<std::int32_t> usable(static_cast<std::size_t>(size.ranks), size.slots_per_rank);
  const cluster_map cluster =
      testing::even_cluster(size.ranks / size.ranks_per_node, size.ranks_per_node);
  placement current = initial_placement(series.layers, series.experts, layout, usable);
  row result;
  move_savings savings(moves_permille * layout.slots() / 1000, saved_epochs);
  const int rebalances = series.windows() - 1;
  if (rebalances <= unscored_windows) throw std::invalid_argument("too few windows to score");
  for (int t = 0; t < rebalances; ++t) {
    plan_request request;
    request.current = &current;
    request.cluster = &cluster;
    request.policy = policy;
    request.groups = size.groups;
    request.threads = 2;
    const bool greedy = request.policy != "flow";
    request.compatible = greedy;
    const std::clock_t began = std::clock();
    forecast expected;
    if (known == knowledge::series || known == knowledge::series_afresh) {
      const int first = std::max(0, t + 1 - memory_windows);
      request.series = series.at(first, t + 1 - first);
      expected = predict({request.series, series.layers, series.experts}, {});
      request.loads = expected.loads;
      request.deviations = expected.deviations;
    } else {
      request.loads = series.at(known == knowledge::next_window ? t + 1 : t, 1);
    }
    if (!greedy) {
      savings.limit(savings.open_epoch(request.loads, current, size.ranks), series.layers,
                    request.limits);
    }
    placement greedily = current;
    if (known == knowledge::series_afresh) {
      plan_request first = request;
      first.policy = "deepseek";
      first.loads = series.at(t, 1);
      first.limits = {};
      greedily = std::move(decide(first).target);
      request.current = &greedily;
      request.limits = {};
      request.limits.max_moves_per_layer = moves_after_greedy;
    }
    plan made = decide(request);
    savings.spend(made.moves());
    const double ms = 1e3 * static_cast<double>(std::clock() - began) / CLOCKS_PER_SEC;
    const double moved = static_cast<double>(arrivals(current, made.target)) /
                         (static_cast<double>(series.layers) * layout.slots());
    if (t == 0) result.moved_first = moved;
    current = std::move(made.target);
    if (t < unscored_windows) continue;
    result.plan_ms += ms;
    result.moved += moved;
    result.fit += balance(series.at(t, 1), current);
    result.next += balance(series.at(t + 1, 1), current);
  }
  for (double* sum : {&result.fit, &result.next, &result.moved, &result.plan_ms})
    *sum /= rebalances - unscored_windows;
  return result;
}

void print(const shape& size, const char* what, const row& result, bool judged) {
  const auto mark = [&](bool missed) { return judged && missed ? '!' : ' '; };
  std::printf("%-22s %-26s %.4f%c %.4f%c %6.1f%c %6.1f %9.1f\n", size.name, what, result.fit,
              mark(result.fit < size.fit), result.next, mark(result.next < size.next),
              100 * result.moved, mark(100 * result.moved > size.moved_percent),
              100 * result.moved_first, result.plan_ms);
  std::fflush(stdout);
}

int bench(const std::string& series_directory, const std::string& trace_directory,
          const std::string& part, int layers, const std::string& planner) {
  std::printf(
      "# moves of %lld permille of the slots a rebalance, saved for at most %d; memory of %d "
      "windows;\n"
      "# ms: processor time of prediction and planning, two threads; !: misses the bar\n"
      "%-22s %-26s %7s %7s %7s %7s %9s\n",
      static_cast<long long>(moves_permille), saved_epochs, memory_windows, "series", "planned by",
      "fit", "next", "moved %", "first %", "ms");
  int missing = 0;
  for (const shape& size : shapes) {
    if (std::string(size.name).find(part) == std::string::npos) continue;
    const std::string path = (size.recorded ? trace_directory : series_directory) + "/" + size.file;
    if (!std::filesystem::exists(path)) {
      std::printf("%-22s MISSING: %s\n", size.name, path.c_str());
      ++missing;
      continue;
    }
    const window_series series = read_series(path, size.window_steps, layers);
    const auto show = [&](const char* what, const char* policy, knowledge known, bool judged) {
      if (std::string(what).find(planner) == std::string::npos) return;
      print(size, what, run(size, series, policy, known), judged);
    };
    show("flow, series", "flow", knowledge::series, true);
    show("flow, last window", "flow", knowledge::last_window, false);
    show("flow after the greedy", "flow", knowledge::series_afresh, false);
    show("flow that knows the next", "flow", knowledge::next_window, false);
    show("published greedy", "deepseek", knowledge::last_window, false);
    std::printf("%-22s %-26s %.4f  %.4f  %6.1f\n", size.name, "the bar", size.fit, size.next,
                size.moved_percent);
  }
  return missing == 0 ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 3) {
    std::fprintf(stderr,
                 "usage: drift_bench SERIES_DIRECTORY TRACE_DIRECTORY [part] [layers] [planner]\n");
    return 64;
  }
  try {
    return bench(argv[1], argv[2], argc > 3 ? argv[3] : "", argc > 4 ? std::atoi(argv[4]) : 4096,
                 argc > 5 ? argv[5] : "");
  } catch (const std::exception& e) {
    std::fprintf(stderr, "drift_bench: %s\n", e.what());
    return 70;
  }
}
