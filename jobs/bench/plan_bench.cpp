// `ballast bench plan`: the time of planning all layers by every policy, against the plain greedy
// on the same loads in the same run, and the balance, beside what published planners reached.
#include <fmt/format.h>

#include <algorithm>
#include <memory>

#include "jobs/bench/bench.hpp"
#include "jobs/bench/peer_figures.hpp"
#include "jobs/bench/plan_case.hpp"
#include "jobs/bench/table.hpp"

namespace ballast {
namespace {

struct plan_bench_options {
  bench_output output;
  std::vector<std::string> shapes = {"dsv3_ep32_288_glob", "dsv3_ep32_288_hier"};
  std::vector<std::string> families = {"logn1.0", "zipf1.0", "zeros"};
  std::vector<std::string> policies = {"all"};
  std::string loads;
  int repetitions = 11;
  int threads = 1;
  std::uint64_t seed = 1;
  bool equal_shares = false;
  bool cold_start = false;
};

std::vector<bench_column> columns() {
  constexpr bool json_only = false;
  return {{"shape", "", "shape", 18, 0},
          {"family", "", "family", 7, 0},
          {"policy", "", "policy", 21, 0},
          {"layers", "", "layers", 6, 0, json_only},
          {"experts", "", "experts", 7, 0, json_only},
          {"ranks", "", "ranks", 5, 0, json_only},
          {"slots", "", "slots", 5, 0, json_only},
          {"runs", "", "runs", 4, 0, json_only},
          {"plan min", "ms", "plan_min_ms", 8, 3, json_only},
          {"plan", "ms", "plan_median_ms", 8, 3},
          {"greedy", "ms", "greedy_median_ms", 7, 3},
          {"ratio", "", "ratio", 6, 3},
          {"balance", "", "balance", 7, 4},
          {"greedy", "balance", "greedy_balance", 9, 4},
          {"greedy", "illegal", "greedy_illegal_layers", 9, 0, json_only},
          {"bound", "", "balance_bound", 6, 4},
          {"gap", "%", "gap_percent", 6, 2},
          {"moves", "", "moves", 6, 0},
          {"by layer", "balance", "balance_layer_mean", 9, 4},
          {"peer", "balance", "peer_balance", 9, 4},
          {"peer", "", "peer", 16, 0}};
}

bool is_all(const std::vector<std::string>& names) {
  return names == std::vector<std::string>{"all"};
}

bool wanted(const std::vector<std::string>& names, std::string_view name) {
  return is_all(names) || std::ranges::find(names, name) != names.end();
}

template <typename Names>
void require_known(const char* option, const std::vector<std::string>& given, const Names& known) {
  if (is_all(given)) return;
  for (const std::string& name : given) {
    if (std::ranges::find(known, std::string_view(name)) != known.end()) continue;
    throw job_error(exit_code::usage, fmt::format("{} {} is unknown; known: all, {}", option, name,
                                                  fmt::join(known, ", ")));
  }
}

std::vector<std::string_view> policies() {
  std::vector<std::string_view> names;
  for (std::int32_t i = 0; ballast_policy_name(i) != nullptr; ++i)
    names.push_back(ballast_policy_name(i));
  return names;
}

void add_row(bench_table& table, const plan_shape& shape, std::string_view family,
             const std::string& policy, const layer_loads& loads, const plan_outcome& out) {
  const double median = out.plan_ms.median();
  const peer_balance* peer = find_peer_balance(shape.name, family);
  table.add({std::string(shape.name),
             std::string(family),
             policy,
             std::int64_t{loads.layers},
             std::int64_t{loads.experts},
             std::int64_t{shape.ranks},
             std::int64_t{shape.slots},
             static_cast<std::int64_t>(out.plan_ms.size()),
             out.plan_ms.min(),
             median,
             out.greedy_ms.median(),
             median > 0 ? out.greedy_ms.median() / median : 0.0,
             out.balance,
             out.greedy_balance,
             out.greedy_illegal,
             out.summary.balance_bound,
             out.summary.gap * 100,
             out.summary.moves,
             out.layer_balance,
             peer == nullptr ? bench_cell(std::string("-")) : bench_cell(peer->balance),
             std::string(peer == nullptr ? "-" : peer->peer)},
            out.wrong);
}

int run_plan_bench(const plan_bench_options& options) {
  std::vector<std::string_view> shape_names;
  for (const plan_shape& shape : plan_shapes()) shape_names.push_back(shape.name);
  require_known("--shapes", options.shapes, shape_names);
  require_known("--families", options.families, load_family_names());
  require_known("--policies", options.policies, policies());

  bench_table table("plan", options.output, true, columns());
  table.parameter("repetitions", options.repetitions);
  table.parameter("threads", options.threads);
  table.parameter("equal shares", options.equal_shares ? "yes" : "no");
  table.parameter("cold start", options.cold_start ? "yes" : "no");
  if (options.loads.empty()) {
    table.parameter("seed", options.seed);
    table.note("loads: drawn as for the peers' figures, but of other random numbers");
  } else {
    table.parameter("loads", options.loads);
  }
  table.note("ratio: greedy median / plan median; gap: of the fullest ranks over the bound");
  table.note(
      "peer: best published planner, mean over layers of mean / max, to hold against 'by "
      "layer'; policies start from experts in order, and moves are counted from there");
  bool any = false;
  for (const plan_shape& shape : plan_shapes()) {
    if (!wanted(options.shapes, shape.name)) continue;
    if (const peer_plan_time* peer = find_peer_plan_time(shape.name)) {
      table.note(fmt::format("{}: fastest peer {} {} ms (logn1.0, their machine)", shape.name,
                             peer->peer, peer->ms));
    }
    for (const std::string_view family : load_family_names()) {
      if (!wanted(options.families, family)) continue;
      plan_case measured(shape,
                         options.loads.empty() ? make_plan_loads(shape, family, options.seed)
                                               : read_plan_loads(shape, family, options.loads),
                         options.threads, options.equal_shares, options.cold_start);
      for (const std::string_view name : policies()) {
        if (!wanted(options.policies, name)) continue;
        const std::string policy(name);
        if (const std::string why = measured.refusal(policy); !why.empty()) {
          table.note(fmt::format("no plan by {}: {}", policy, why));
          continue;
        }
        any = true;
        add_row(table, shape, family, policy, measured.loads(),
                measured.measure(policy, options.repetitions));
      }
    }
  }
  if (!any) throw job_error(exit_code::bad_input, "no policy can plan any of the cases");
  return static_cast<int>(table.finish());
}

}  // namespace

void add_plan_bench(command& bench, command_body& run) {
  auto o = std::make_shared<plan_bench_options>();
  command* plan = bench.add_subcommand("plan",
                                       "Time and balance of every policy, all layers of a model, "
                                       "beside a plain heap-and-sort greedy "
                                       "and published planners; no MPI.");
  const auto names = [&](const char* option, std::vector<std::string>& list, const char* what) {
    plan->add_option(option, list, what)->delimiter(',')->capture_default_str();
  };
  names("--shapes", o->shapes, "Names of shapes with commas between, or all");
  names("--families", o->families, "Names of load families with commas between, or all");
  names("--policies", o->policies, "Names of policies with commas between, or all");
  plan->add_option("--loads", o->loads,
                   "Folder of MODEL_FAMILY.npy (dsv3_logn1.0.npy, ...) to read the loads from");
  plan->add_option("--repetitions", o->repetitions, "Runs per case; fewer where they take seconds")
      ->check(range(1, 100000))
      ->capture_default_str();
  plan->add_option("--threads", o->threads, "Threads that plan layers")
      ->check(range(1, 256))
      ->capture_default_str();
  plan->add_option("--seed", o->seed, "Of the loads")->check(any_seed())->capture_default_str();
  add_equal_shares_option(*plan, o->equal_shares);
  add_cold_start_option(*plan, o->cold_start);
  add_output_options(*plan, o->output);
  plan->footer(
      "#wrong counts layers whose placement is illegal (an expert missing, twice on a rank or out "
      "of range, shares that are not all, a group on two nodes where\n"
      "the policy keeps groups), a balance other than reported and, of flow and the deepseek "
      "policies, one more than 0.1 % below the greedy's.\n"
      "Examples:\n  ballast bench plan --shapes all --families all --policies deepseek,flow --json "
      "plan.json\n  ballast bench plan --shapes kimi_ep128_512 --families logn1.0");
  plan->callback([&run, o] { run = [o] { return run_plan_bench(*o); }; });
}

}  // namespace ballast
