#include "policies/plan.hpp"

#include <algorithm>
#include <memory>
#include <optional>
#include <stdexcept>
#include <utility>

#include "policies/activations.hpp"
#include "policies/align.hpp"
#include "policies/allot.hpp"
#include "policies/balance.hpp"
#include "policies/digest.hpp"
#include "policies/flow.hpp"
#include "policies/flow_groups.hpp"
#include "policies/layer_policy.hpp"
#include "policies/limits.hpp"
#include "policies/parallel.hpp"
#include "policies/request.hpp"

namespace ballast {

namespace {

std::span<const std::int64_t> loads_of(const plan_request& request, int layer) {
  const auto experts = static_cast<std::size_t>(request.current->experts());
  return request.loads.subspan(layer * experts, experts);
}

varying_loads expected_of(const plan_request& request, int layer) {
  const std::size_t cells = request.loads.size();
  const auto experts = static_cast<std::size_t>(request.current->experts());
  varying_loads expected{loads_of(request, layer), {}, 0, cells};
  if (!request.deviations.empty()) {
    expected.deviations = request.deviations.subspan(layer * experts);
    expected.samples = static_cast<int>(request.deviations.size() / cells);
  }
  return expected;
}

/// The most that any layer may make; -1: any number.
std::int64_t moves_of_one_layer(const plan_limits& limits) {
  if (limits.max_moves_per_layer < 0) return limits.max_moves_total;
  return limits.max_moves_total < 0 ? limits.max_moves_per_layer
                                    : std::min(limits.max_moves_per_layer, limits.max_moves_total);
}

/// Plans layers of one task, one after another, straight into the target.
class task_planner {
 public:
  task_planner(const plan_request& request, const planning_task& task, const planning_tasks& tasks,
               plan& decided)
      : request_(request),
        task_(task),
        tasks_(tasks),
        decided_(decided),
        policy_(make_layer_policy(request, task)),
        aligner_(request.current->experts()),
        arrivals_(request.current->experts()) {
    if (task.kind == policy_kind::flow) {
      flow_.emplace(flow_setting{*request.cluster, task.usable_slots, task.speeds, task.homes,
                                 request.current->experts(), request.equal_shares,
                                 request.cold_start});
    } else if (task.shape.nodes > 1) {
      homes_.emplace(request.current->experts(), group_shape{task.shape.groups, task.shape.nodes},
                     task.usable_slots, task.speeds);
    }
  }

  /// Only `flow` plans within the purse.
  void plan_layer(int layer, const flow_purse& purse) {
    const placement& current = *request_.current;
    const auto loads = loads_of(request_, layer);
    layer_outcome& outcome = decided_.layers[layer];
    outcome.max_before = fullest_rank_load(
        loads, current.experts_of(layer), current.shares_of(layer), current.layout(), task_.speeds);
    outcome.max_after = outcome.max_before;
    outcome.risk_before = outcome.max_before;
    outcome.risk_after = outcome.max_before;
    if (task_.kind == policy_kind::keep) {
      keep_layer(request_, tasks_, layer, decided_);
      return;
    }
    const auto experts = decided_.target.experts_of(layer);
    const auto shares = decided_.target.shares_of(layer);
    if (task_.kind == policy_kind::flow) {
      flow_->plan_layer(expected_of(request_, layer), current.layout(), current.experts_of(layer),
                        purse, experts, shares);
      outcome.moves = arrivals_.count(current.layout(), current.experts_of(layer), experts);
    } else {
      policy_->plan_layer({request_, layer}, experts);
      outcome.moves = request_.compatible
                          ? arrivals_.count(current.layout(), current.experts_of(layer), experts)
                          : align(layer);
      set_equal_shares(experts, current.experts(), shares);
    }
    outcome.max_after = fullest_rank_load(loads, experts, shares, current.layout(), task_.speeds);
    weigh_risk(layer);
    if (outcome.risk_after >= outcome.risk_before && !was_judged(layer) && may_stay(layer)) {
      keep_layer(request_, tasks_, layer, decided_);
    }
  }

 private:
  void weigh_risk(int layer) {
    layer_outcome& outcome = decided_.layers[layer];
    outcome.risk_after = outcome.max_after;
    if (task_.kind != policy_kind::flow) return;
    const placement& current = *request_.current;
    const varying_loads expected = expected_of(request_, layer);
    outcome.risk_before = flow_->risk(expected, current.layout(), current.experts_of(layer),
                                      current.shares_of(layer), outcome.max_before);
    outcome.risk_after = flow_->risk(expected, current.layout(), decided_.target.experts_of(layer),
                                     decided_.target.shares_of(layer), outcome.max_after);
  }

  /// Returns the number of moves.
  std::int32_t align(int layer) {
    std::int32_t moves = 0;
    const slot_layout& layout = request_.current->layout();
    const auto current = request_.current->experts_of(layer);
    const auto target = decided_.target.experts_of(layer);
    for (int rank = 0; rank < layout.ranks(); ++rank) {
      moves += aligner_.align(current.subspan(layout.first(rank), layout.count(rank)),
                              target.subspan(layout.first(rank), layout.count(rank)));
    }
    return moves;
  }

  /// Whether a plan stands even if it is no better by the loads.
  bool was_judged(int layer) {
    if (task_.kind == policy_kind::random || request_.compatible) return true;
    return policy_ != nullptr && policy_->weighs_the_series({request_, layer}) &&
           !std::ranges::equal(request_.current->experts_of(layer),
                               decided_.target.experts_of(layer));
  }

  /// Whether the current layer keeps the rules of a target: usable slots only, no expert twice on a
  /// rank, equal shares and groups at home where those are asked for.
  bool may_stay(int layer) {
    const slot_layout& layout = request_.current->layout();
    const auto experts = request_.current->experts_of(layer);
    if (task_.kind == policy_kind::flow && !may_stay_under_flow(layer)) return false;
    if (homes_) {
      homes_->read(layout, experts);
      if (!homes_->local(layout, experts)) return false;
    }
    for (int rank = 0; rank < layout.ranks(); ++rank) {
      held_.clear();
      for (const std::int32_t expert : experts.subspan(layout.first(rank), layout.count(rank))) {
        if (expert != no_expert) held_.push_back(expert);
      }
      if (static_cast<std::int32_t>(held_.size()) > task_.usable_slots[rank]) return false;
      std::sort(held_.begin(), held_.end());
      if (std::adjacent_find(held_.begin(), held_.end()) != held_.end()) return false;
    }
    return true;
  }

  /// What is not at home may stay while moves are limited.
  bool may_stay_under_flow(int layer) {
    const placement& current = *request_.current;
    const auto experts = current.experts_of(layer);
    if (request_.equal_shares) {
      equal_.resize(experts.size());
      set_equal_shares(experts, current.experts(), equal_);
      if (!std::ranges::equal(equal_, current.shares_of(layer))) return false;
    }
    return is_limited(request_.limits) || flow_->is_local(current.layout(), experts);
  }

  const plan_request& request_;
  const planning_task& task_;
  const planning_tasks& tasks_;
  plan& decided_;
  std::unique_ptr<layer_policy> policy_;
  std::optional<flow_planner> flow_;
  std::optional<group_homes> homes_;  // of other policies that keep groups on nodes
  slot_aligner aligner_;
  arrival_counter arrivals_;
  std::vector<std::int32_t> held_;
  std::vector<std::int32_t> equal_;
};

/// Plans any layer, each by the planner of its task; one per thread.
class layer_planner {
 public:
  layer_planner(const plan_request& request, const planning_tasks& tasks, plan& decided)
      : request_(request), tasks_(tasks), decided_(decided), planners_(tasks.kinds.size()) {}

  void plan_layer(int layer, const flow_purse& purse) {
    auto& planner = planners_[tasks_.kind_of_layer[layer]];
    if (planner == nullptr) {
      planner = std::make_unique<task_planner>(request_, tasks_.of(layer), tasks_, decided_);
    }
    planner->plan_layer(layer, purse);
  }

 private:
  const plan_request& request_;
  const planning_tasks& tasks_;
  plan& decided_;
  std::vector<std::unique_ptr<task_planner>> planners_;  // [kinds]
};

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

void absorb_placement(digest_builder& digest, const placement& place) {
  for (int layer = 0; layer < place.layers(); ++layer) {
    digest.absorb(place.experts_of(layer));
    digest.absorb(place.shares_of(layer));
  }
}

/// What most requests leave as it is: each under a name of its own, and only if given.
void absorb_options(const plan_request& request, digest_builder& digest) {
  if (has_masked_ranks(request)) {
    for (const std::uint8_t dead : request.masked_ranks) digest.absorb(std::uint64_t{dead});
  }
  if (!request.rank_speed.empty()) {
    digest.absorb("rank_speed");
    digest.absorb(request.rank_speed);
  }
  if (!request.slots_per_layer.empty()) {
    digest.absorb("slots_per_layer");
    digest.absorb(request.slots_per_layer);
    digest.absorb(static_cast<std::uint64_t>(request.spare_rows));
  }
  if (request.equal_shares) digest.absorb("equal_shares");
  if (request.cold_start) digest.absorb("cold_start");
  if (!request.deviations.empty()) {
    digest.absorb("deviations");
    digest.absorb(request.deviations);
  }
  if (request.objective == plan_objective::activations) {
    digest.absorb("activations");
    digest.absorb(static_cast<std::uint64_t>(request.passes));
  }
  if (request.limits.max_moves_total >= 0) {
    digest.absorb("max_moves_total");
    digest.absorb(static_cast<std::uint64_t>(request.limits.max_moves_total));
  }
  if (request.limits.max_bytes_per_link != plan_limits().max_bytes_per_link) {
    digest.absorb("max_bytes_per_link");
    digest.absorb(request.limits.max_bytes_per_link);
  }
}

/// Of all that the plan depends on, and of the target. Not of `threads`, which change nothing.
std::uint64_t digest_of(const plan_request& request, const planning_tasks& tasks,
                        const placement& target) {
  digest_builder digest;
  const auto absorb = [&](std::int64_t value) { digest.absorb(static_cast<std::uint64_t>(value)); };
  absorb(target.layers());
  absorb(target.experts());
  absorb(target.layout().ranks());
  for (int rank = 0; rank < target.layout().ranks(); ++rank) absorb(target.layout().count(rank));
  digest.absorb(tasks.usable_slots);
  absorb_options(request, digest);
  digest.absorb(request.policy);
  absorb(request.compatible ? 1 : 0);
  absorb(request.groups);
  digest.absorb(request.seed);
  absorb(request.expert_bytes);
  absorb(request.limits.max_moves_per_layer);
  absorb(request.limits.max_bytes_per_rank);
  for (const rank_place& place : request.cluster->ranks) {
    const std::int32_t fields[] = {place.node, place.island, place.local_rank, place.package,
                                   place.numa, place.gpu,    place.nic};
    digest.absorb(fields);
  }
  digest.absorb(request.cluster->cost_ns_per_mib);
  digest.absorb(request.loads);
  if (!request.series.empty()) digest.absorb(request.series);
  absorb_placement(digest, *request.current);
  absorb_placement(digest, target);
  return digest.value();
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
