// `ballast bench plan`: the time of planning all layers, against the plain greedy on the same loads in the same run.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <numeric>

#include "jobs/bench/bench.hpp"
#include "jobs/bench/plain_greedy.hpp"
#include "jobs/bench/plan_loads.hpp"
#include "jobs/bench/samples.hpp"
#include "jobs/bench/table.hpp"

namespace ballast {
namespace {

struct plan_bench_options {
  bench_output output;
  std::vector<std::string> shapes;
  std::vector<std::string> families;
  int repetitions = 11;
  int threads = 1;
  std::uint64_t seed = 1;
};

using plan_handle = std::unique_ptr<ballast_plan, decltype(&ballast_plan_destroy)>;
using topology_handle = std::unique_ptr<ballast_topology, decltype(&ballast_topology_destroy)>;

constexpr std::int32_t share_total = 65536;
constexpr double balance_tolerance = 1e-3;  // as good as the greedy's
constexpr double report_tolerance = 1e-4;   // what Ballast says of its balance, and what its placement gives

struct outcome {
  samples plan_ms;
  samples greedy_ms;
  ballast_plan_summary summary = {};
  std::vector<std::int32_t> experts;  // [layers][slots] of the last plan, so the shares
  std::vector<std::int32_t> shares;
  double balance = 0;
  double greedy_balance = 0;
  std::int64_t greedy_illegal = 0;  // layers
  std::int64_t wrong = 0;
};

// Sums of mean and largest rank loads over layers.
struct balance_sum {
  double mean = 0;
  double largest = 0;
  double value() const { return largest > 0 ? mean / largest : 1.0; }
  void operator+=(const balance_sum& other) {
    mean += other.mean;
    largest += other.largest;
  }
};

class plan_case {
 public:
  plan_case(const plan_shape& shape, layer_loads loads, const plan_bench_options& options);
  outcome measure();
  const layer_loads& loads() const { return loads_; }

 private:
  void plan_once(outcome& out);
  void greedy_once(outcome& out);
  void judge(outcome& out) const;
  double largest_load(std::span<const std::int64_t> loads, int layer, const outcome& out) const;
  bool is_legal(int layer, const outcome& out) const;
  bool greedy_is_legal(int layer) const;

  const plan_shape& shape_;
  layer_loads loads_;
  int repetitions_;
  topology_handle topology_{nullptr, ballast_topology_destroy};
  ballast_plan_request request_;
  std::vector<std::vector<std::int32_t>> greedy_;  // [layers][slots]
};

plan_case::plan_case(const plan_shape& shape, layer_loads loads, const plan_bench_options& options)
    : shape_(shape), loads_(std::move(loads)), repetitions_(options.repetitions) {
  ballast_topology* made = nullptr;
  check(ballast_topology_imitate(shape.ranks, shape.ranks / shape.nodes, "", &made));
  topology_.reset(made);
  ballast_plan_request_init(&request_);
  request_.layers = loads_.layers;
  request_.experts = loads_.experts;
  request_.ranks = shape.ranks;
  request_.slots_per_rank = shape.slots / shape.ranks;
  request_.loads = loads_.loads.data();
  request_.topology = made;
  request_.policy = shape.hierarchical ? "deepseek-hierarchical" : "deepseek-global";
  request_.groups = shape.hierarchical ? shape.groups : 1;
  request_.threads = options.threads;
  greedy_.resize(static_cast<std::size_t>(loads_.layers));
}

outcome plan_case::measure() {
  outcome out;
  out.experts.resize(static_cast<std::size_t>(loads_.layers) * shape_.slots);
  out.shares.resize(out.experts.size());
  // The first round touches everything once and is not counted.
  for (int round = 0; round <= repetitions_; ++round) {
    if (round == 1) out.plan_ms = out.greedy_ms = {};
    plan_once(out);
    greedy_once(out);
  }
  judge(out);
  return out;
}

void plan_case::plan_once(outcome& out) {
  ballast_plan* made = nullptr;
  check(ballast_plan_create(&request_, &made));
  const plan_handle plan(made, ballast_plan_destroy);
  out.summary.struct_size = sizeof(out.summary);
  check(ballast_plan_summarise(made, &out.summary));
  check(ballast_plan_placement(made, out.experts.data(), out.shares.data()));
  out.plan_ms.add(out.summary.plan_seconds * 1e3);
}

void plan_case::greedy_once(outcome& out) {
  out.greedy_ms.add(1e3 * seconds_of([&] {
    for (int layer = 0; layer < loads_.layers; ++layer) {
      const auto loads = std::span(loads_.loads).subspan(static_cast<std::size_t>(layer) * loads_.experts, loads_.experts);
      greedy_[layer] = shape_.hierarchical ? bench::plain_hierarchical_greedy(loads, shape_.groups, shape_.nodes, shape_.ranks,
                                                                              request_.slots_per_rank)
                                           : bench::plain_greedy(loads, shape_.ranks, request_.slots_per_rank);
    }
  }));
}

// The greedy may put two replicas of an expert on one rank, which Ballast does not: the layers where it does so are left out when the
// balances are held against each other, and counted.
void plan_case::judge(outcome& out) const {
  balance_sum ours;
  balance_sum greedy;
  balance_sum ours_compared;
  balance_sum greedy_compared;
  for (int layer = 0; layer < loads_.layers; ++layer) {
    out.wrong += !is_legal(layer, out);
    const auto loads = std::span(loads_.loads).subspan(static_cast<std::size_t>(layer) * loads_.experts, loads_.experts);
    const double mean = std::accumulate(loads.begin(), loads.end(), 0.0) / shape_.ranks;
    const balance_sum our_layer = {mean, largest_load(loads, layer, out)};
    const balance_sum greedy_layer = {mean, mean / bench::plain_balance(loads, greedy_[layer], shape_.ranks)};
    ours += our_layer;
    greedy += greedy_layer;
    if (greedy_is_legal(layer)) {
      ours_compared += our_layer;
      greedy_compared += greedy_layer;
    } else {
      ++out.greedy_illegal;
    }
  }
  out.balance = ours.value();
  out.greedy_balance = greedy.value();
  out.wrong += ours_compared.value() < greedy_compared.value() * (1 - balance_tolerance);
  out.wrong += std::abs(out.balance - out.summary.balance_after) > report_tolerance;
}

double plan_case::largest_load(std::span<const std::int64_t> loads, int layer, const outcome& out) const {
  std::vector<double> rank_load(static_cast<std::size_t>(shape_.ranks), 0);
  for (int slot = 0; slot < shape_.slots; ++slot) {
    const std::size_t cell = static_cast<std::size_t>(layer) * shape_.slots + slot;
    const std::int32_t expert = out.experts[cell];
    if (expert < 0 || expert >= loads_.experts) continue;  // is_legal has seen it
    rank_load[slot / request_.slots_per_rank] += static_cast<double>(loads[expert]) * out.shares[cell] / share_total;
  }
  return std::ranges::max(rank_load);
}

bool plan_case::greedy_is_legal(int layer) const {
  std::vector<std::int32_t> last_rank(static_cast<std::size_t>(loads_.experts), -1);
  for (int slot = 0; slot < shape_.slots; ++slot) {
    std::int32_t& last = last_rank[greedy_[layer][slot]];
    if (last == slot / request_.slots_per_rank) return false;
    last = slot / request_.slots_per_rank;
  }
  return true;
}

// Every expert somewhere, none twice on a rank, its shares all of its tokens.
bool plan_case::is_legal(int layer, const outcome& out) const {
  const std::size_t first = static_cast<std::size_t>(layer) * shape_.slots;
  std::vector<std::int32_t> shares(static_cast<std::size_t>(loads_.experts), 0);
  std::vector<std::int32_t> last_rank(static_cast<std::size_t>(loads_.experts), -1);
  for (int slot = 0; slot < shape_.slots; ++slot) {
    const std::int32_t expert = out.experts[first + slot];
    const std::int32_t rank = slot / request_.slots_per_rank;
    if (expert < 0 || expert >= loads_.experts || last_rank[expert] == rank) return false;
    last_rank[expert] = rank;
    shares[expert] += out.shares[first + slot];
  }
  return std::ranges::all_of(shares, [](std::int32_t sum) { return sum == share_total; });
}

std::vector<bench_column> columns() {
  return {{"shape", "", "shape", 18, 0},
          {"family", "", "family", 8, 0},
          {"layers", "", "layers", 6, 0},
          {"experts", "", "experts", 7, 0},
          {"ranks", "", "ranks", 5, 0},
          {"slots", "", "slots", 5, 0},
          {"plan min", "ms", "plan_min_ms", 8, 3},
          {"median", "ms", "plan_median_ms", 8, 3},
          {"greedy", "ms", "greedy_median_ms", 8, 3},
          {"ratio", "", "ratio", 6, 2},
          {"balance", "", "balance", 8, 5},
          {"greedy", "balance", "greedy_balance", 9, 5},
          {"greedy", "illegal", "greedy_illegal_layers", 9, 0},
          {"bound", "", "balance_bound", 8, 5},
          {"moves", "", "moves", 6, 0}};
}

bool wanted(const std::vector<std::string>& names, std::string_view name) {
  return names.empty() || std::ranges::find(names, name) != names.end();
}

template <typename Names>
void require_known(const char* option, const std::vector<std::string>& given, const Names& known) {
  for (const std::string& name : given) {
    if (std::ranges::find(known, std::string_view(name)) != known.end()) continue;
    throw job_error(exit_code::usage, fmt::format("{} {} is unknown; known: {}", option, name, fmt::join(known, ", ")));
  }
}

int run_plan_bench(const plan_bench_options& options) {
  std::vector<std::string_view> shape_names;
  for (const plan_shape& shape : plan_shapes()) shape_names.push_back(shape.name);
  require_known("--shapes", options.shapes, shape_names);
  require_known("--families", options.families, load_family_names());

  bench_table table("plan", options.output, true, columns());
  table.parameter("repetitions", options.repetitions);
  table.parameter("threads", options.threads);
  table.parameter("seed", options.seed);
  table.parameter("ratio", "greedy median / plan median");
  for (const plan_shape& shape : plan_shapes()) {
    if (!wanted(options.shapes, shape.name)) continue;
    for (const std::string_view family : load_family_names()) {
      if (!wanted(options.families, family)) continue;
      plan_case measured(shape, make_plan_loads(shape, family, options.seed), options);
      const outcome out = measured.measure();
      const double median = out.plan_ms.median();
      table.add({std::string(shape.name), std::string(family), std::int64_t{measured.loads().layers},
                 std::int64_t{measured.loads().experts}, std::int64_t{shape.ranks}, std::int64_t{shape.slots}, out.plan_ms.min(), median,
                 out.greedy_ms.median(), median > 0 ? out.greedy_ms.median() / median : 0.0, out.balance, out.greedy_balance, out.greedy_illegal,
                 out.summary.balance_bound, out.summary.moves},
                out.wrong);
    }
  }
  return static_cast<int>(table.finish());
}

}  // namespace

void add_plan_bench(CLI::App& bench, command_body& run) {
  auto o = std::make_shared<plan_bench_options>();
  CLI::App* plan = bench.add_subcommand("plan", "Time to plan all layers of a model, beside a plain heap-and-sort greedy; no MPI.");
  plan->add_option("--shapes", o->shapes, "Names of shapes, with commas between (default: all)")->delimiter(',');
  plan->add_option("--families", o->families, "Names of load families, with commas between (default: all)")->delimiter(',');
  plan->add_option("--repetitions", o->repetitions, "Runs per case")->check(CLI::Range(1, 100000))->capture_default_str();
  plan->add_option("--threads", o->threads, "Threads that plan layers")->check(CLI::Range(1, 256))->capture_default_str();
  plan->add_option("--seed", o->seed, "Of the loads")->capture_default_str();
  add_output_options(*plan, o->output);
  plan->footer(
      "#wrong counts layers whose placement is illegal (an expert missing, twice on a rank or out of range, shares that are not all), and a\n"
      "balance more than 0.1 % below the greedy's, over the layers where the greedy's placement is legal, or other than reported.\n"
      "Example:\n  ballast bench plan --shapes dsv3_ep32_288_glob,kimi_ep128_512 --families logn1.0 --json plan.json");
  plan->callback([&run, o] { run = [o] { return run_plan_bench(*o); }; });
}

}  // namespace ballast
