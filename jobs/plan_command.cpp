// `ballast plan`: loads in, placement out, without MPI. Its parts are in jobs/plan/.
#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <nlohmann/json.hpp>

#include "jobs/command.hpp"
#include "jobs/option_names.hpp"
#include "jobs/output.hpp"
#include "jobs/plan/curve.hpp"
#include "jobs/plan/explain.hpp"
#include "jobs/plan/inputs.hpp"
#include "jobs/plan/options.hpp"
#include "jobs/plan/planned.hpp"
#include "jobs/plan/report.hpp"
#include "jobs/plan/what_if.hpp"

namespace ballast {
namespace {

void require_one_plan(const plan_options& options, std::size_t plans) {
  if (plans == 1 && (!options.curve || (options.out.empty() && !options.explain))) return;
  const char* option = nullptr;
  if (!options.out.empty()) option = "--out";
  if (options.explain) option = "--explain";
  if (options.curve && plans > 1) option = "--curve";
  if (option == nullptr) return;
  throw job_error(exit_code::usage,
                  fmt::format("{} is for one plan, the options ask for {}", option,
                              plans == 1 ? std::string("several") : std::to_string(plans)));
}

// What is counted in bytes needs to know what an expert weighs.
void require_expert_bytes(const plan_options& options, const plan_inputs& inputs) {
  if (inputs.expert_bytes > 0) return;
  const bool limited =
      std::ranges::any_of(options.max_bytes, [](std::int64_t bytes) { return bytes >= 0; });
  if (!limited && !options.curve) return;
  throw job_error(exit_code::usage, fmt::format("{} needs --expert-bytes N or --model KEY",
                                                limited ? "--max-bytes" : "--curve"));
}

// Whether moves pay depends on what a token and an expert cost.
void require_prices(const plan_options& options, const plan_inputs& inputs) {
  if (options.token_ns > 0 && inputs.expert_bytes == 0)
    throw job_error(exit_code::usage, "--token-ns needs --expert-bytes N or --model KEY");
}

int run_plan(const plan_options& options) {
  const std::vector<plan_choice> choices = plan_choices(options);
  require_one_plan(options, choices.size());
  prediction_of(options.prediction);
  const plan_inputs inputs = read_plan_inputs(options);
  require_expert_bytes(options, inputs);
  require_prices(options, inputs);
  if (options.curve) return static_cast<int>(run_curve(options, inputs, choices.front()));
  if (choices.size() > 1) return static_cast<int>(run_what_if(options, inputs, choices));
  const planned made = make_plan(options, inputs, choices.front());
  save_placement(made, options);
  nlohmann::ordered_json report = plan_to_json(made);
  add_series(options, inputs, report);
  if (options.explain) report["explain"] = explain_plan(made);
  if (!options.quiet && options.json != "-") {
    print_series(options, inputs);
    print_plan(made);
    if (options.explain) print_explanation(report["explain"]);
  }
  write_json(report, options.json);
  return 0;
}

}  // namespace

void add_plan_command(command& program, command_body& run) {
  auto o = std::make_shared<plan_options>();
  command* plan = program.add_subcommand("plan", "Plan a placement for given loads, without MPI.");
  plan->add_option("--loads", o->loads, "Recorded loads: .json, .json.gz or .npy [L,E] or [T,L,E]");
  plan->add_option(
      "--generate", o->generate,
      "Made-up loads: key=value,... (model, layers, experts, cv, drift, steps, seed and more, see "
      "replay --help)");
  plan->add_option("--window", o->window, "Steps A:B (A to B-1) to sum, default all");
  option* series = plan->add_flag(
      "--series", o->series,
      "Keep the steps as a series, oldest first, and plan for the window after the last");
  plan->add_option("--series-steps", o->series_steps, "Steps that make one window of the series")
      ->check(at_least_one())
      ->capture_default_str()
      ->needs(series);
  add_prediction_options(*plan, o->prediction)->needs(series);
  const auto list = [&](const char* name, auto& values, const char* what) {
    return plan->add_option(name, values, what)->delimiter(',');
  };
  list("--ranks", o->ranks,
       "Ranks of the expert-parallel group, one to a GPU; or several with commas between")
      ->required()
      ->check(range(1, 16384));
  list("--slots-per-rank", o->slots_per_rank,
       "Experts that a rank has room for in each layer, or several")
      ->check(range(1, 1024));
  option* budget =
      list("--slots-budget", o->slots_budget,
           "Instead: the experts that a rank can hold in all layers together, or several; slots go "
           "to the layers where they help most")
          ->check(at_least_one());
  option* budget_bytes = list("--slots-budget-bytes", o->slots_budget_bytes,
                              "The same in bytes of a rank's memory, or several")
                             ->check(at_least_one());
  plan->add_option("--ranks-per-node", o->ranks_per_node, "Ranks of a node (default: all)")
      ->check(range(1, 16384));
  plan->add_option("--topology", o->topology,
                   "hwloc XML or synthetic string to take every node for");
  plan->add_option("--groups", o->groups, "Expert groups (default: the model's, or 1)")
      ->check(range(1, 65536));
  list("--policy", o->policies,
       "How to plan, or several: flow moves least from the current placement, the others are "
       "published "
       "planners")
      ->check(one_of(known_policies()))
      ->capture_default_str();
  plan->add_flag("--compat", o->compatible,
                 "The policy's published rules to the letter, no anti-affinity");
  add_objective_option(*plan, o->objective);
  add_equal_shares_option(*plan, o->equal_shares);
  add_cold_start_option(*plan, o->cold_start);
  option* token_ns = add_token_ns_option(*plan, o->token_ns);
  add_horizon_option(*plan, o->horizon)->needs(token_ns);
  plan->add_option(
          "--current", o->current,
          "The placement to start from (default: slot i holds expert i mod experts); slots "
          "beyond its own are empty")
      ->excludes(budget)
      ->excludes(budget_bytes);
  option* moves = take_move_limits(
      list("--max-moves", o->max_moves,
           "Moves per layer, as a number or a percentage of its slots (12%), -1 for any number, or "
           "several"));
  list("--max-bytes", o->max_bytes, "Bytes received per rank, -1 for any number, or several")
      ->check(at_least_minus_one());
  plan->add_flag("--curve", o->curve,
                 "Plan for growing budgets and show what balance the bytes buy")
      ->excludes(moves)
      ->excludes(budget)
      ->excludes(budget_bytes);
  plan->add_flag("--explain", o->explain, "Say what each move buys, and why");
  plan->add_option("--expert-bytes", o->expert_bytes,
                   "Bytes of one expert in one layer, for budgets and prices in bytes")
      ->check(at_least_one());
  plan->add_option("--model", o->model,
                   "Expert bytes and groups of this model, e.g. deepseek-v3-fp8");
  plan->add_option("--threads", o->threads, "Threads that plan layers")
      ->check(range(1, 256))
      ->capture_default_str();
  plan->add_option("--seed", o->seed, "For policy random")
      ->check(any_seed())
      ->capture_default_str();
  plan->add_option("--out", o->out, "Write the placement to this file");
  plan->add_option("--json", o->json,
                   "Write the report as JSON to this file, - for standard output");
  plan->add_flag("--quiet", o->quiet, "No text");
  plan->footer(
      "Lists of ranks, slots, policies or budgets give a table of all combinations.\n"
      "Examples:\n"
      "  ballast plan --generate model=deepseek-v3,steps=10 --ranks 32 --slots-per-rank 9 "
      "--ranks-per-node 8 --out placement.json\n"
      "  ballast plan --loads loads.npy --current placement.json --model deepseek-v3-fp8 --ranks "
      "32 "
      "--slots-per-rank 9,10 --policy flow,deepseek --max-moves 0,8,32,-1\n"
      "  ballast plan --loads loads.npy --window 0:320 --series --series-steps 10 --prediction "
      "robust --ranks 32 --slots-per-rank 9\n"
      "  ballast plan --loads loads.npy --model deepseek-v3-fp8 --ranks 32 --slots-per-rank 9 "
      "--curve\n"
      "  ballast plan --loads loads.npy --ranks 32 --slots-budget 480,500,520");
  plan->callback([&run, o] { run = [o] { return run_plan(*o); }; });
}

}  // namespace ballast
