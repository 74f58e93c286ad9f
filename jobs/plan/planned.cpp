#include "jobs/plan/planned.hpp"

#include <fmt/format.h>

#include <stdexcept>

#include "jobs/exit_code.hpp"
#include "jobs/objective.hpp"

namespace ballast {
namespace {

std::vector<std::int32_t> widened(const std::vector<std::int32_t>& cells, std::int32_t slots,
                                  std::int32_t more_slots, std::int32_t empty) {
  std::vector<std::int32_t> wide;
  wide.reserve(cells.size() / slots * more_slots);
  for (auto rank = cells.begin(); rank != cells.end(); rank += slots) {
    wide.insert(wide.end(), rank, rank + slots);
    wide.insert(wide.end(), static_cast<std::size_t>(more_slots - slots), empty);
  }
  return wide;
}

void use_current(const plan_options& options, const placement_file& file, planned& made) {
  ballast_plan_request& request = made.request;
  const auto refuse = [&](const char* field, std::int64_t in_file, std::int64_t wanted) {
    throw std::invalid_argument(
        fmt::format("{}: {} is {}, the request has {}", options.current, field, in_file, wanted));
  };
  if (file.layers != request.layers) refuse("layers", file.layers, request.layers);
  if (file.experts != request.experts) refuse("experts", file.experts, request.experts);
  if (file.ranks != request.ranks) refuse("ranks", file.ranks, request.ranks);
  if (file.slots_per_rank > request.slots_per_rank)
    refuse("slots_per_rank", file.slots_per_rank, request.slots_per_rank);
  if (!file.slots_per_layer.empty()) {
    made.slots.slots = file.slots_per_layer;
    request.slots_per_layer = made.slots.slots.data();
  }
  request.placement = file.experts_of_slots.data();
  request.shares = file.shares.data();
  if (file.slots_per_rank == request.slots_per_rank) return;
  made.widened_experts =
      widened(file.experts_of_slots, file.slots_per_rank, request.slots_per_rank, -1);
  made.widened_shares = widened(file.shares, file.slots_per_rank, request.slots_per_rank, 0);
  request.placement = made.widened_experts.data();
  request.shares = made.widened_shares.data();
}

// There is nothing in place yet where slots are still being chosen.
void use_budget(const plan_choice& choice, const plan_inputs& inputs, planned& made) {
  ballast_plan_request& request = made.request;
  const std::int64_t budget =
      choice.slots_budget > 0
          ? choice.slots_budget
          : experts_for("--slots-budget-bytes", choice.slots_budget_bytes, inputs.expert_bytes);
  made.slots = choose_slots(request, budget);
  request.slots_per_rank = most_slots(made.slots.slots);
  request.slots_per_layer = made.slots.slots.data();
  request.cold_start = 1;
}

void use_loads(const plan_options& options, const plan_inputs& inputs,
               ballast_plan_request& request) {
  request.passes = inputs.window_steps;
  request.window_steps = inputs.window_steps;
  if (!options.series) {
    request.loads = inputs.loads.data();
    return;
  }
  request.series = inputs.loads.data();
  request.windows = inputs.windows;
  request.prediction = prediction_of(options.prediction);
  request.decay_shift = decay_shift_of(options.prediction);
  if (request.prediction == BALLAST_PREDICTION_SUM) request.passes *= inputs.windows;
}

}  // namespace

planned make_plan(const plan_options& options, const plan_inputs& inputs,
                  const plan_choice& choice) {
  planned made;
  ballast_plan_request& request = made.request;
  ballast_plan_request_init(&request);
  request.layers = inputs.layers;
  request.experts = inputs.experts;
  request.ranks = choice.ranks;
  request.slots_per_rank = choice.slots_per_rank;
  request.policy = choice.policy.c_str();
  request.groups = inputs.groups;
  request.compatible = options.compatible;
  request.equal_shares = options.equal_shares;
  request.cold_start = options.cold_start;
  request.max_bytes = choice.max_bytes;
  request.expert_bytes = inputs.expert_bytes;
  request.threads = options.threads;
  request.seed = options.seed;
  request.objective = objective_of(options.objective);
  use_loads(options, inputs, request);
  request.token_ns = options.token_ns;
  request.horizon = options.horizon;
  if (!options.topology.empty() || options.ranks_per_node > 0) {
    ballast_topology* topology = nullptr;
    check(ballast_topology_imitate(
        choice.ranks, options.ranks_per_node > 0 ? options.ranks_per_node : choice.ranks,
        options.topology.c_str(), &topology));
    made.topology.reset(topology);
    request.topology = topology;
  }
  if (choice.slots_per_rank == 0) use_budget(choice, inputs, made);
  if (inputs.current) use_current(options, *inputs.current, made);
  request.max_moves =
      choice.max_moves.of(static_cast<std::int64_t>(request.ranks) * request.slots_per_rank);
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
