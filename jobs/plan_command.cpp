// `ballast plan`: loads in, placement out, without MPI.
#include <fmt/format.h>

#include <memory>

#include "jobs/command.hpp"
#include "jobs/loads/generator.hpp"
#include "jobs/loads/models.hpp"
#include "jobs/loads/trace.hpp"
#include "jobs/output.hpp"
#include "jobs/placement_file.hpp"

namespace ballast {
namespace {

struct plan_options {
  std::string loads, generate, window, topology, policy = BALLAST_DEFAULT_POLICY, current, model,
                                                 out, json;
  std::int32_t ranks = 0, slots_per_rank = 0, ranks_per_node = 0, groups = 0, threads = 1;
  std::int64_t max_moves = -1, max_bytes = -1, expert_bytes = 0;
  std::uint64_t seed = 1;
  bool compatible = false;
  bool quiet = false;
};

using topology_handle = std::unique_ptr<ballast_topology, decltype(&ballast_topology_destroy)>;
using plan_handle = std::unique_ptr<ballast_plan, decltype(&ballast_plan_destroy)>;

struct planned {
  ballast_plan_request request;
  ballast_plan_summary summary;
  plan_handle plan{nullptr, ballast_plan_destroy};
};

void use_current(const plan_options& options, placement_file& file, ballast_plan_request& request) {
  if (options.current.empty()) return;
  file = read_placement_file(options.current);
  const auto compare = [&](const char* field, std::int64_t in_file, std::int64_t wanted) {
    if (in_file != wanted)
      throw std::invalid_argument(
          fmt::format("{}: {} is {}, the request has {}", options.current, field, in_file, wanted));
  };
  compare("layers", file.layers, request.layers);
  compare("experts", file.experts, request.experts);
  compare("ranks", file.ranks, request.ranks);
  compare("slots_per_rank", file.slots_per_rank, request.slots_per_rank);
  request.placement = file.experts_of_slots.data();
  request.shares = file.shares.data();
}

void use_model(const plan_options& options, ballast_plan_request& request) {
  request.groups = options.groups > 0 ? options.groups : 1;
  request.expert_bytes = options.expert_bytes;
  if (options.model.empty()) return;
  const model_choice choice = find_model(options.model);
  if (choice.model->experts != request.experts) {
    throw std::invalid_argument(fmt::format("--model {} has {} experts, the loads {}",
                                            options.model, choice.model->experts, request.experts));
  }
  if (options.groups == 0) request.groups = choice.model->groups;
  if (options.expert_bytes == 0) request.expert_bytes = choice.expert_bytes;
}

planned make(const plan_options& options) {
  if (options.loads.empty() == options.generate.empty()) {
    throw job_error(exit_code::usage, "give either --loads FILE or --generate SPEC");
  }
  const std::unique_ptr<load_source> source =
      options.loads.empty() ? make_generator(options.generate) : open_trace(options.loads);
  std::vector<std::int64_t> sums(static_cast<std::size_t>(source->layers()) * source->experts());
  sum_window(*source, parse_window(options.window, source->steps()), sums);

  planned p;
  ballast_plan_request_init(&p.request);
  p.request.layers = source->layers();
  p.request.experts = source->experts();
  p.request.ranks = options.ranks;
  p.request.slots_per_rank = options.slots_per_rank;
  p.request.loads = sums.data();
  p.request.policy = options.policy.c_str();
  p.request.compatible = options.compatible;
  p.request.max_moves = options.max_moves;
  p.request.max_bytes = options.max_bytes;
  p.request.threads = options.threads;
  p.request.seed = options.seed;
  use_model(options, p.request);
  placement_file current;
  use_current(options, current, p.request);
  topology_handle topology(nullptr, ballast_topology_destroy);
  if (!options.topology.empty() || options.ranks_per_node > 0) {
    ballast_topology* made = nullptr;
    check(ballast_topology_imitate(
        options.ranks, options.ranks_per_node > 0 ? options.ranks_per_node : options.ranks,
        options.topology.c_str(), &made));
    topology.reset(made);
    p.request.topology = made;
  }
  // The first plan touches everything once; the second is the one that is timed.
  for (int run = 0; run < 2; ++run) {
    ballast_plan* plan = nullptr;
    check(ballast_plan_create(&p.request, &plan));
    p.plan.reset(plan);
  }
  p.summary.struct_size = sizeof(p.summary);
  check(ballast_plan_summarise(p.plan.get(), &p.summary));
  return p;
}

void print(const planned& p) {
  const ballast_plan_summary& s = p.summary;
  fmt::print("{} layers x {} experts on {} ranks x {} slots, policy {}\n", p.request.layers,
             p.request.experts, p.request.ranks, p.request.slots_per_rank, p.request.policy);
  fmt::print("balance {:.4f} -> {:.4f} (bound {:.4f}, gap {:.2f} %)\n", s.balance_before,
             s.balance_after, s.balance_bound, s.gap * 100);
  fmt::print("{} layers change, {} moves in {} batches ({} local, {} island, {} node, {} remote)\n",
             s.layers_changed, s.moves, s.batches, s.moves_by_link[0], s.moves_by_link[1],
             s.moves_by_link[2], s.moves_by_link[3]);
  fmt::print("planned in {:.3f} ms, scheduled in {:.3f} ms, digest {:016x}\n", s.plan_seconds * 1e3,
             s.schedule_seconds * 1e3, s.digest);
}

nlohmann::ordered_json to_json(const planned& p) {
  const ballast_plan_summary& s = p.summary;
  nlohmann::ordered_json document = json_head("plan");
  document["layers"] = p.request.layers;
  document["experts"] = p.request.experts;
  document["ranks"] = p.request.ranks;
  document["slots_per_rank"] = p.request.slots_per_rank;
  document["policy"] = p.request.policy;
  document["digest"] = fmt::format("{:016x}", s.digest);
  document["plan_seconds"] = s.plan_seconds;
  document["schedule_seconds"] = s.schedule_seconds;
  auto per_layer = nlohmann::ordered_json::array();
  for (int layer = 0; layer < p.request.layers; ++layer) {
    ballast_plan_layer l;
    l.struct_size = sizeof(l);
    check(ballast_plan_layer_summary(p.plan.get(), layer, &l));
    per_layer.push_back({{"before", l.balance_before},
                         {"after", l.balance_after},
                         {"bound", l.balance_bound},
                         {"moves", l.moves}});
  }
  document["balance"] = {{"before", s.balance_before},
                         {"after", s.balance_after},
                         {"bound", s.balance_bound},
                         {"gap", s.gap},
                         {"per_layer", per_layer}};
  const auto bytes = [&](std::int64_t moves) { return moves * p.request.expert_bytes; };
  document["moves"] = {{"count", s.moves},
                       {"bytes", bytes(s.moves)},
                       {"by_link",
                        {{"local", bytes(s.moves_by_link[0])},
                         {"island", bytes(s.moves_by_link[1])},
                         {"node", bytes(s.moves_by_link[2])},
                         {"remote", bytes(s.moves_by_link[3])}}}};
  document["batches"] = s.batches;
  return document;
}

void save(const planned& p, const plan_options& options) {
  if (options.out.empty()) return;
  placement_file file;
  file.layers = p.request.layers;
  file.experts = p.request.experts;
  file.ranks = p.request.ranks;
  file.slots_per_rank = p.request.slots_per_rank;
  file.model = options.model;
  const std::size_t cells =
      static_cast<std::size_t>(file.layers) * file.ranks * file.slots_per_rank;
  file.experts_of_slots.resize(cells);
  file.shares.resize(cells);
  check(ballast_plan_placement(p.plan.get(), file.experts_of_slots.data(), file.shares.data()));
  write_placement_file(options.out, file);
}

int run_plan(const plan_options& options) {
  const planned p = make(options);
  save(p, options);
  if (!options.quiet && options.json != "-") print(p);
  write_json(to_json(p), options.json);
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
