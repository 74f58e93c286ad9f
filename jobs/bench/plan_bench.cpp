// `ballast bench plan`: the time of planning all layers, against the plain greedy on the same loads
// in the same run.
#include <fmt/format.h>

#include <algorithm>
#include <memory>

#include "jobs/bench/bench.hpp"
#include "jobs/bench/plan_case.hpp"
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
    throw job_error(exit_code::usage, fmt::format("{} {} is unknown; known: {}", option, name,
                                                  fmt::join(known, ", ")));
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
      plan_case measured(shape, make_plan_loads(shape, family, options.seed), options.threads);
      const plan_outcome out = measured.measure(options.repetitions);
      const double median = out.plan_ms.median();
      table.add(
          {std::string(shape.name), std::string(family), std::int64_t{measured.loads().layers},
           std::int64_t{measured.loads().experts}, std::int64_t{shape.ranks},
           std::int64_t{shape.slots}, out.plan_ms.min(), median, out.greedy_ms.median(),
           median > 0 ? out.greedy_ms.median() / median : 0.0, out.balance, out.greedy_balance,
           out.greedy_illegal, out.summary.balance_bound, out.summary.moves},
          out.wrong);
    }
  }
  return static_cast<int>(table.finish());
}

}  // namespace

void add_plan_bench(CLI::App& bench, command_body& run) {
  auto o = std::make_shared<plan_bench_options>();
  CLI::App* plan = bench.add_subcommand(
      "plan", "Time to plan all layers of a model, beside a plain heap-and-sort greedy; no MPI.");
  plan->add_option("--shapes", o->shapes, "Names of shapes, with commas between (default: all)")
      ->delimiter(',');
  plan->add_option("--families", o->families,
                   "Names of load families, with commas between (default: all)")
      ->delimiter(',');
  plan->add_option("--repetitions", o->repetitions, "Runs per case")
      ->check(CLI::Range(1, 100000))
      ->capture_default_str();
  plan->add_option("--threads", o->threads, "Threads that plan layers")
      ->check(CLI::Range(1, 256))
      ->capture_default_str();
  plan->add_option("--seed", o->seed, "Of the loads")->capture_default_str();
  add_output_options(*plan, o->output);
  plan->footer(
      "#wrong counts layers whose placement is illegal (an expert missing, twice on a rank or out "
      "of range, shares that are not all), and a\n"
      "balance more than 0.1 % below the greedy's, over the layers where the greedy's placement is "
      "legal, or other than reported.\n"
      "Example:\n  ballast bench plan --shapes dsv3_ep32_288_glob,kimi_ep128_512 --families "
      "logn1.0 --json plan.json");
  plan->callback([&run, o] { run = [o] { return run_plan_bench(*o); }; });
}

}  // namespace ballast
