#include "policies/plan.hpp"

#include <algorithm>
#include <stdexcept>
#include <utility>

#include "policies/activations.hpp"
#include "policies/allot.hpp"
#include "policies/layer_planner.hpp"
#include "policies/layer_policy.hpp"
#include "policies/limits.hpp"
#include "policies/parallel.hpp"
#include "policies/plan_digest.hpp"
#include "policies/request.hpp"

namespace ballast {

namespace {

/// The most that any layer may make; -1: any number.
std::int64_t moves_of_one_layer(const plan_limits& limits) {
  if (limits.max_moves_per_layer < 0) return limits.max_moves_total;
  return limits.max_moves_total < 0 ? limits.max_moves_per_layer
                                    : std::min(limits.max_moves_per_layer, limits.max_moves_total);
}

/// Each layer was planned as if it had the purse for itself. The layers that gain most keep their
/// plan; one that finds too little left is planned again with what is left.
void divide_purse(const plan_request& request, const planning_tasks& tasks,
                  std::vector<std::int64_t> left, plan& decided) {
  layer_planner planner(request, tasks, decided);
  std::vector<std::int64_t> needed(left.size());
  const auto needs = [&](std::int32_t layer) {
    std::fill(needed.begin(), needed.end(), 0);
    add_spent(request, request.current->experts_of(layer), decided.target.experts_of(layer),
              needed);
  };
  for (const std::int32_t layer : moving_layers(decided)) {
    needs(layer);
    if (!std::ranges::equal(needed, left, std::ranges::less_equal())) {
      const std::int64_t moves = request.limits.max_moves_total >= 0
                                     ? decided.layers[layer].moves
                                     : request.limits.max_moves_per_layer;
      planner.plan_layer(layer, {moves, left});
      needs(layer);
      // What had to be put right may be more than is left; apply_limits keeps such a layer.
      if (!std::ranges::equal(needed, left, std::ranges::less_equal())) continue;
    }
    for (std::size_t i = 0; i < left.size(); ++i) left[i] -= needed[i];
  }
}

/// One plan of one layer.
struct layer_plan {
  std::vector<std::int32_t> experts, shares;  // [slots]
  layer_outcome outcome;
};

/// Where the layers, each planned as if it had all moves, make too many: plans of every layer for
/// several budgets around the mean one, of which those are taken that buy most.
void divide_moves(const plan_request& request, const planning_tasks& tasks,
                  std::span<const std::int64_t> purse, plan& decided) {
  const std::int64_t total = request.limits.max_moves_total;
  const int layers = decided.target.layers();
  const std::int64_t mean = std::max<std::int64_t>(total / layers, 1);
  const auto count = static_cast<std::size_t>(layers);
  std::vector<std::vector<layer_plan>> plans(count);
  std::vector<std::vector<layer_offer>> offers(count);
  for_layers(layers, request.threads, [&](int first, int last) {
    layer_planner planner(request, tasks, decided);
    for (int layer = first; layer < last; ++layer) {
      const auto remember = [&] {
        const auto experts = decided.target.experts_of(layer);
        const auto shares = decided.target.shares_of(layer);
        const layer_outcome& outcome = decided.layers[layer];
        plans[layer].push_back(
            {{experts.begin(), experts.end()}, {shares.begin(), shares.end()}, outcome});
        offers[layer].push_back({outcome.moves, outcome.risk_after});
      };
      remember();
      const std::int64_t all = decided.layers[layer].moves;
      for (const std::int64_t moves : {std::int64_t{0}, mean / 2, mean, 2 * mean, 4 * mean}) {
        if (moves >= all) continue;
        planner.plan_layer(layer, {moves, purse});
        remember();
      }
    }
  });
  const std::vector<std::size_t> chosen = allot(offers, total);
  for (int layer = 0; layer < layers; ++layer) {
    const layer_plan& taken = plans[layer][chosen[layer]];
    std::ranges::copy(taken.experts, decided.target.experts_of(layer).begin());
    std::ranges::copy(taken.shares, decided.target.shares_of(layer).begin());
    decided.layers[layer] = taken.outcome;
  }
}

/// By one of our own policies, within the limits.
void plan_layers(const plan_request& request, const planning_tasks& tasks, plan& decided) {
  const std::vector<std::int64_t> purse = purse_of(request);
  const std::int64_t total = request.limits.max_moves_total;
  for_layers(decided.target.layers(), request.threads, [&](int first, int last) {
    layer_planner planner(request, tasks, decided);
    for (int layer = first; layer < last; ++layer) {
      planner.plan_layer(layer, {moves_of_one_layer(request.limits), purse});
    }
  });
  if (tasks.policy() == policy_kind::flow) {
    if (total >= 0 && decided.moves() > total) divide_moves(request, tasks, purse, decided);
    if (!purse.empty()) divide_purse(request, tasks, purse, decided);
  }
  apply_limits(request, tasks, decided);
}

/// As if activations could be split, then whole.
void plan_activations(const plan_request& request, const planning_tasks& tasks, plan& decided) {
  const std::vector<std::int64_t> activations = activations_of(request);
  plan_request by_activations = request;
  by_activations.loads = activations;
  by_activations.series = {};
  by_activations.deviations = {};
  plan_layers(by_activations, tasks, decided);
  serve_whole(by_activations, tasks, decided);
}

/// Experts without a replica on a rank that is not masked.
std::vector<lost_expert> lost_experts(const plan_request& request) {
  const placement& current = *request.current;
  const slot_layout& layout = current.layout();
  std::vector<lost_expert> lost;
  std::vector<std::uint8_t> alive;
  for (int layer = 0; layer < current.layers(); ++layer) {
    alive.assign(static_cast<std::size_t>(current.experts()), 0);
    for (int slot = 0; slot < layout.slots(); ++slot) {
      const std::int32_t expert = current.experts_of(layer)[slot];
      if (expert != no_expert && request.masked_ranks[layout.rank_of(slot)] == 0) alive[expert] = 1;
    }
    for (int expert = 0; expert < current.experts(); ++expert) {
      if (alive[expert] == 0) lost.push_back({layer, expert});
    }
  }
  return lost;
}

/// What has arrived in slots that the layer does not have goes to the rank's first free ones, if
/// possible to such as are free already.
void leave_closed_rows(const plan_request& request, std::int32_t rows, int layer,
                       placement& target) {
  const slot_layout& layout = target.layout();
  const auto now = request.current->experts_of(layer);
  const auto experts = target.experts_of(layer);
  const auto shares = target.shares_of(layer);
  for (int rank = 0; rank < layout.ranks(); ++rank) {
    const int first = layout.first(rank);
    const int open = first + std::min(rows, layout.count(rank));
    for (int slot = open; slot < layout.first(rank + 1); ++slot) {
      if (experts[slot] == no_expert) continue;
      int to = first;
      while (to < open && (experts[to] != no_expert || now[to] != no_expert)) ++to;
      if (to == open) to = first;
      while (experts[to] != no_expert) ++to;  // usable slots are no more than the rows
      experts[to] = std::exchange(experts[slot], no_expert);
      shares[to] = std::exchange(shares[slot], 0);
    }
  }
}

bool differs(const plan_request& request, const plan& decided, int layer) {
  return !std::ranges::equal(request.current->experts_of(layer),
                             decided.target.experts_of(layer)) ||
         !std::ranges::equal(request.current->shares_of(layer), decided.target.shares_of(layer));
}

}  // namespace

plan decide(const plan_request& request) {
  interpreted_request interpreted = interpret(request);
  if (!interpreted.why_not.empty()) throw std::invalid_argument(interpreted.why_not);
  const planning_tasks& tasks = interpreted.tasks;
  plan decided;
  decided.target = *request.current;
  decided.layers.resize(static_cast<std::size_t>(decided.target.layers()));
  if (tasks.policy() == policy_kind::plugin) {
    plan_by_plugin(request, tasks, decided);
    apply_limits(request, tasks, decided);
  } else if (request.objective == plan_objective::activations) {
    plan_activations(request, tasks, decided);
  } else {
    plan_layers(request, tasks, decided);
  }
  for (int layer = 0; layer < decided.target.layers(); ++layer) {
    leave_closed_rows(request, tasks.of(layer).rows, layer, decided.target);
    if (differs(request, decided, layer)) decided.changed.push_back(layer);
  }
  decided.living_ranks = living_ranks(request);
  if (has_masked_ranks(request)) decided.lost = lost_experts(request);
  decided.digest = digest_of(request, tasks, decided.target);
  return decided;
}

}  // namespace ballast
