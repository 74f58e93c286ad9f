#include "policies/layer_planner.hpp"

#include <algorithm>
#include <optional>

#include "policies/align.hpp"
#include "policies/balance.hpp"
#include "policies/flow.hpp"
#include "policies/flow_groups.hpp"
#include "policies/layer_policy.hpp"
#include "policies/limits.hpp"

namespace ballast {

namespace {

std::span<const std::int64_t> loads_of(const plan_request& request, int layer) {
  const auto experts = static_cast<std::size_t>(request.current->experts());
  return request.loads.subspan(layer * experts, experts);
}

varying_loads expected_of(const plan_request& request, int layer) {
  const std::size_t cells = request.loads.size();
  const auto experts = static_cast<std::size_t>(request.current->experts());
  varying_loads expected{loads_of(request, layer), {}, 0, cells, {}};
  if (!request.deviations.empty()) {
    expected.deviations = request.deviations.subspan(layer * experts);
    expected.samples = static_cast<int>(request.deviations.size() / cells);
    if (!request.series.empty())
      expected.newest = request.series.last(cells).subspan(layer * experts, experts);
  }
  return expected;
}

}  // namespace

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

layer_planner::layer_planner(const plan_request& request, const planning_tasks& tasks,
                             plan& decided)
    : request_(request), tasks_(tasks), decided_(decided), planners_(tasks.kinds.size()) {}

layer_planner::~layer_planner() = default;

void layer_planner::plan_layer(int layer, const flow_purse& purse) {
  auto& planner = planners_[tasks_.kind_of_layer[layer]];
  if (planner == nullptr) {
    planner = std::make_unique<task_planner>(request_, tasks_.of(layer), tasks_, decided_);
  }
  planner->plan_layer(layer, purse);
}

}  // namespace ballast
