#include "jobs/plan/planned.hpp"

#include <fmt/format.h>

#include <stdexcept>

#include "jobs/exit_code.hpp"

namespace ballast {
namespace {

void use_current(const plan_options& options, const placement_file& file,
                 ballast_plan_request& request) {
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

}  // namespace

planned make_plan(const plan_options& options, const plan_inputs& inputs) {
  planned made;
  ballast_plan_request& request = made.request;
  ballast_plan_request_init(&request);
  request.layers = inputs.layers;
  request.experts = inputs.experts;
  request.ranks = options.ranks;
  request.slots_per_rank = options.slots_per_rank;
  request.loads = inputs.loads.data();
  request.policy = options.policy.c_str();
  request.groups = inputs.groups;
  request.compatible = options.compatible;
  request.max_moves = options.max_moves;
  request.max_bytes = options.max_bytes;
  request.expert_bytes = inputs.expert_bytes;
  request.threads = options.threads;
  request.seed = options.seed;
  if (inputs.current) use_current(options, *inputs.current, request);
  if (!options.topology.empty() || options.ranks_per_node > 0) {
    ballast_topology* topology = nullptr;
    check(ballast_topology_imitate(
        options.ranks, options.ranks_per_node > 0 ? options.ranks_per_node : options.ranks,
        options.topology.c_str(), &topology));
    made.topology.reset(topology);
    request.topology = topology;
  }
  for (int run = 0; run < 2; ++run) {
    ballast_plan* plan = nullptr;
    check(ballast_plan_create(&request, &plan));
    made.plan.reset(plan);
  }
  made.summary.struct_size = sizeof(made.summary);
  check(ballast_plan_summarise(made.plan.get(), &made.summary));
  return made;
}

}  // namespace ballast
