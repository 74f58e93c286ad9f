// `ballast replay`: options of the main job.
#include <memory>

#include "jobs/command.hpp"
#include "jobs/mpi_session.hpp"
#include "jobs/option_names.hpp"
#include "jobs/replay/replay.hpp"

namespace ballast {
namespace {

void add_loads(command& command, replay_options& o) {
  command.add_option("--trace", o.trace, "Recorded loads: .json, .json.gz or .npy");
  command.add_option(
      "--generate", o.generate,
      "Made-up loads: key=value,... (model, layers, experts, marginal, cv, drift, domains, "
      "domain_steps, tokens_per_step, noise, steps, seed)");
  command.add_option("--model", o.model,
                     "Expert bytes and groups of this model, e.g. deepseek-v3-fp8");
  command.add_option("--layers", o.layers, "Use the first N layers")->check(range(1, 4096));
  command.add_option("--experts", o.experts, "Experts the source must have")
      ->check(range(1, 65536));
  command.add_option("--top-k", o.top_k, "Experts per token, where the source does not say")
      ->check(range(1, 64));
  command.add_option("--steps", o.steps, "Steps to play")->check(at_least_one());
}

void add_placement(command& command, replay_options& o) {
  option* slots = command
                      .add_option("--slots-per-rank", o.slots_per_rank,
                                  "Expert slots per rank and layer (default: one more than needed)")
                      ->check(range(1, 1024));
  option* budget =
      command
          .add_option("--slots-budget", o.slots_budget,
                      "Instead: the experts that a rank can hold in all layers together; slots go "
                      "to the layers where they help most by the loads of the first window")
          ->check(at_least_one())
          ->excludes(slots);
  option* budget_bytes = command
                             .add_option("--slots-budget-bytes", o.slots_budget_bytes,
                                         "The same in bytes of a rank's memory")
                             ->check(at_least_one())
                             ->excludes(slots)
                             ->excludes(budget);
  command
      .add_option("--spare-rows", o.spare_rows,
                  "Empty rows per rank and layer that moves can land in")
      ->check(range(0, 1024));
  command
      .add_option("--expert-bytes", o.expert_bytes,
                  "Bytes of one expert (default: the model's, or 262144)")
      ->check(at_least_one());
  command.add_option("--placement", o.placement, "Start from this placement file")
      ->excludes(budget)
      ->excludes(budget_bytes);
  command.add_option("--state", o.state,
                     "Save the placement here, and past loads in FILE.loads.npy, at every commit, "
                     "at the end and on "
                     "a signal; resume from them if FILE exists");
  command.add_option("--topology", o.topology,
                     "hwloc XML or synthetic string to take every node for");
  command.add_option("--ranks-per-node", o.ranks_per_node, "Imitate nodes of this many ranks")
      ->check(range(1, 16384));
}

void add_planning(command& command, replay_options& o) {
  command.add_option("--policy", o.policy, "How to plan")
      ->check(one_of(known_policies()))
      ->capture_default_str();
  command.add_flag("--compat", o.compatible,
                   "The policy's published rules to the letter, no anti-affinity");
  add_objective_option(command, o.objective);
  add_equal_shares_option(command, o.equal_shares);
  command
      .add_option("--groups", o.groups,
                  "Expert groups for hierarchical planning (default: the model's, or 1)")
      ->check(range(1, 65536));
  command.add_option("--interval", o.interval, "Steps between epochs")
      ->check(at_least_one())
      ->capture_default_str();
  command
      .add_option("--window", o.window, "Steps whose loads an epoch sums (default: the interval)")
      ->check(at_least_one());
  add_prediction_options(command, o.prediction);
  command
      .add_option("--memory-windows", o.memory_windows,
                  "Past windows, with the newest, that an epoch predicts from")
      ->check(range(1, 256))
      ->capture_default_str();
  add_token_ns_option(command, o.token_ns);
  add_horizon_option(command, o.horizon);
  command.add_option("--balance-min", o.balance_min, "Plan only below this balance")
      ->check(real_range(0.0, 1.0))
      ->capture_default_str();
  command.add_option("--gain-min", o.gain_min, "Move only for a balance better by this")
      ->check(real_range(0.0, 1.0))
      ->capture_default_str();
  option* max_moves = take_move_limits(command.add_option(
      "--max-moves", o.max_moves,
      "Moves per layer and epoch, as a number or a percentage of its slots (12%)"));
  command
      .add_option("--moves-saved", o.moves_saved,
                  "So many times --max-moves may be saved for epochs that need more")
      ->check(range(1, 1000))
      ->needs(max_moves);
  command.add_option("--max-bytes", o.max_bytes, "Bytes received per rank and epoch")
      ->check(at_least_zero());
  command.add_option("--planner-threads", o.planner_threads, "Threads that plan layers")
      ->check(range(1, 256))
      ->capture_default_str();
  command.add_option("--seed", o.seed, "For policy random")
      ->check(any_seed())
      ->capture_default_str();
  command
      .add_option("--mode", o.mode, "dynamic: plan and move; record: plan only; static: neither")
      ->check(one_of({"dynamic", "record", "static"}))
      ->capture_default_str();
}

void add_exchange(command& command, replay_options& o) {
  command
      .add_option("--backend", o.backend,
                  "Where weights live; auto: cuda where every rank can have a GPU of its own")
      ->check(one_of({"auto", "host", "cuda"}))
      ->capture_default_str();
  command
      .add_option("--transport", o.transport,
                  "How weights travel: between GPUs copy (copy engines) or nccl, on the host mpi "
                  "between ranks and local inside one")
      ->check(one_of(transport_names))
      ->capture_default_str();
  command.add_option("--way", o.way, "How weights reach their row, wherever it is legal")
      ->check(one_of({"auto", "vacate", "spare", "staged"}))
      ->capture_default_str();
  command.add_option("--verify", o.verify, "Which moves are hashed on arrival")
      ->check(one_of({"full", "sample", "off"}))
      ->capture_default_str();
  command.add_option("--staging-experts", o.staging_experts, "Staging rows per rank and half")
      ->check(range(1, 1024))
      ->capture_default_str();
  command
      .add_option("--receives-per-batch", o.receives_per_batch,
                  "Experts one rank receives in a batch")
      ->check(range(1, 4096))
      ->capture_default_str();
  command
      .add_option("--bytes-per-step", o.bytes_per_step,
                  "Bytes one rank moves per step, 0 for all it can (default: 0 on the host, 12 MiB "
                  "on a GPU)")
      ->check(at_least_zero());
  command.add_option("--nccl-ctas", o.nccl_ctas, "CTAs that NCCL may use for weights, on a GPU")
      ->check(range(1, 64))
      ->capture_default_str();
  command
      .add_option("--hash-ctas", o.hash_ctas,
                  "CTAs that check what has arrived, on a GPU (default 0: 2 if paced, else 8)")
      ->check(range(0, 1024));
  command.add_option("--consensus-lag", o.lag, "Steps between posting and reading a vote")
      ->check(range(1, 16))
      ->capture_default_str();
  command.add_option("--deadline-seconds", o.deadline_seconds, "No phase and no wait lasts longer")
      ->check(real_range(0.1, 1e6))
      ->capture_default_str();
  command.add_option(
      "--drill", o.drill,
      std::string("Rehearse a fault, KIND:RANK:EPOCH with KIND ") + ballast_drill_kinds());
}

void add_output(command& command, replay_options& o) {
  command.add_flag("--ffn", o.ffn,
                   "Run real expert FFNs and compare their outputs with the initial placement's; "
                   "their time says what a token costs where --token-ns does not");
  command.add_option("--ffn-tokens", o.ffn_tokens, "Tokens per rank, layer and step")
      ->check(range(1, 1 << 20))
      ->capture_default_str();
  command.add_option("--ffn-hidden", o.ffn_hidden, "Hidden size")
      ->check(range(1, 2048))
      ->capture_default_str();
  command.add_option("--ffn-intermediate", o.ffn_intermediate, "Intermediate size")
      ->check(range(1, 2048))
      ->capture_default_str();
  command.add_option("--json", o.json,
                     "Write epochs and summary as JSON to this file, - for standard output");
  command.add_flag("--quiet", o.quiet, "No table");
}

}  // namespace

void add_replay_command(command& program, command_body& run) {
  auto options = std::make_shared<replay_options>();
  command* replay_command = program.add_subcommand(
      "replay",
      "Play expert loads through the whole runtime, with real weights, and check every byte.");
  add_loads(*replay_command, *options);
  add_placement(*replay_command, *options);
  add_planning(*replay_command, *options);
  add_exchange(*replay_command, *options);
  add_output(*replay_command, *options);
  replay_command->footer(
      "Examples:\n"
      "  mpirun -np 8 ballast replay --generate model=deepseek-v2-lite,layers=8,steps=600 "
      "--slots-per-rank 9\n"
      "  mpirun -np 8 ballast replay --trace loads.json.gz --slots-per-rank 5 --interval 48 --ffn "
      "--json report.json\n"
      "  mpirun -np 8 ballast replay --trace loads.json.gz --slots-per-rank 5 --prediction decay "
      "--memory-windows 8 --token-ns 40 --horizon 5000\n"
      "  mpirun -np 2 ballast replay --generate model=deepseek-v3,layers=2,steps=600 "
      "--model deepseek-v3-fp8 --backend cuda --transport copy");
  replay_command->callback([&run, options] {
    run = [options] {
      catch_stop_signals();
      return run_mpi_job([&](const mpi_session& mpi) {
        if (options->horizon > 0 && options->token_ns == 0 && !options->ffn)
          throw job_error(exit_code::usage,
                          "--horizon needs --token-ns N, or --ffn to measure what a token costs");
        return replay(mpi, *options);
      });
    };
  });
}

}  // namespace ballast
