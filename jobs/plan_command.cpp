// `ballast plan`: loads in, placement out, without MPI. Its parts are in jobs/plan/.
#include <memory>

#include "jobs/command.hpp"
#include "jobs/output.hpp"
#include "jobs/plan/inputs.hpp"
#include "jobs/plan/options.hpp"
#include "jobs/plan/planned.hpp"
#include "jobs/plan/report.hpp"

namespace ballast {
namespace {

int run_plan(const plan_options& options) {
  const plan_inputs inputs = read_plan_inputs(options);
  const planned made = make_plan(options, inputs);
  save_placement(made, options);
  if (!options.quiet && options.json != "-") print_plan(made);
  write_json(plan_to_json(made), options.json);
  return 0;
}

}  // namespace

void add_plan_command(CLI::App& program, command_body& run) {
  auto o = std::make_shared<plan_options>();
  CLI::App* plan = program.add_subcommand("plan", "Plan a placement for given loads, without MPI.");
  plan->add_option("--loads", o->loads, "Recorded loads: .json, .json.gz or .npy [L,E] or [T,L,E]");
  plan->add_option("--generate", o->generate, "Made-up loads, as for replay");
  plan->add_option("--window", o->window, "Steps A:B (A to B-1) to sum, default all");
  plan->add_option("--ranks", o->ranks, "Ranks")->required()->check(CLI::Range(1, 16384));
  plan->add_option("--slots-per-rank", o->slots_per_rank, "Slots per rank and layer")
      ->required()
      ->check(CLI::Range(1, 1024));
  plan->add_option("--ranks-per-node", o->ranks_per_node, "Ranks of a node (default: all)")
      ->check(CLI::Range(1, 16384));
  plan->add_option("--topology", o->topology,
                   "hwloc XML or synthetic string to take every node for");
  plan->add_option("--groups", o->groups, "Expert groups (default: the model's, or 1)")
      ->check(CLI::Range(1, 65536));
  plan->add_option("--policy", o->policy, "How to plan")->capture_default_str();
  plan->add_flag("--compat", o->compatible,
                 "The policy's published rules to the letter, no anti-affinity");
  plan->add_option("--current", o->current,
                   "The placement to start from (default: slot i holds expert i mod experts)");
  plan->add_option("--max-moves", o->max_moves, "Moves per layer")->check(at_least_zero());
  plan->add_option("--max-bytes", o->max_bytes, "Bytes received per rank")->check(at_least_zero());
  plan->add_option("--expert-bytes", o->expert_bytes, "Bytes of one expert")->check(at_least_one());
  plan->add_option("--model", o->model,
                   "Expert bytes and groups of this model, e.g. deepseek-v3-fp8");
  plan->add_option("--threads", o->threads, "Threads that plan layers")
      ->check(CLI::Range(1, 256))
      ->capture_default_str();
  plan->add_option("--seed", o->seed, "For policy random")->capture_default_str();
  plan->add_option("--out", o->out, "Write the placement to this file");
  plan->add_option("--json", o->json,
                   "Write the report as JSON to this file, - for standard output");
  plan->add_flag("--quiet", o->quiet, "No text");
  plan->footer(
      "Example:\n  ballast plan --generate model=deepseek-v3,steps=10 --ranks 32 --slots-per-rank "
      "9 --ranks-per-node 8 --out placement.json");
  plan->callback([&run, o] { run = [o] { return run_plan(*o); }; });
}

}  // namespace ballast
