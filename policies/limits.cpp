#include "policies/limits.hpp"

#include <algorithm>

#include "policies/balance.hpp"
#include "policies/repair.hpp"
#include "policies/request.hpp"

namespace ballast {

std::int32_t arrival_counter::count(const slot_layout& layout,
                                    std::span<const std::int32_t> current,
                                    std::span<const std::int32_t> target,
                                    std::span<std::int64_t> per_rank) {
  std::int32_t total = 0;
  for (int rank = 0; rank < layout.ranks(); ++rank) {
    ++ranks_counted_;
    std::int32_t arrivals = 0;
    for (int slot = layout.first(rank); slot < layout.first(rank + 1); ++slot) {
      if (current[slot] != no_expert) seen_[current[slot]] = ranks_counted_;
    }
    for (int slot = layout.first(rank); slot < layout.first(rank + 1); ++slot) {
      if (target[slot] != no_expert && seen_[target[slot]] != ranks_counted_) ++arrivals;
    }
    if (!per_rank.empty()) per_rank[rank] += arrivals;
    total += arrivals;
  }
  return total;
}

namespace {

/// Empties masked ranks of one layer that was kept. Shares become equal if anything changes.
void clear_masked(const plan_request& request, const planning_task& task, int layer,
                  plan& decided) {
  const placement& current = *request.current;
  const auto experts = decided.target.experts_of(layer);
  layer_repair().repair(current.layout(), task.usable_slots, current.experts(), experts);
  if (std::ranges::equal(experts, current.experts_of(layer))) return;
  const auto shares = decided.target.shares_of(layer);
  set_equal_shares(experts, current.experts(), shares);
  const auto count = static_cast<std::size_t>(current.experts());
  layer_outcome& outcome = decided.layers[layer];
  outcome.max_after = fullest_rank_load(request.loads.subspan(layer * count, count), experts,
                                        shares, current.layout(), task.speeds);
  outcome.risk_after = outcome.max_after;
  outcome.moves = arrival_counter(current.experts())
                      .count(current.layout(), current.experts_of(layer), experts);
}

}  // namespace

void keep_layer(const plan_request& request, const planning_task& task, int layer, plan& decided) {
  const auto experts = request.current->experts_of(layer);
  const auto shares = request.current->shares_of(layer);
  std::copy(experts.begin(), experts.end(), decided.target.experts_of(layer).begin());
  std::copy(shares.begin(), shares.end(), decided.target.shares_of(layer).begin());
  decided.layers[layer].max_after = decided.layers[layer].max_before;
  decided.layers[layer].risk_after = decided.layers[layer].risk_before;
  decided.layers[layer].moves = 0;
  if (has_masked_ranks(request)) clear_masked(request, task, layer, decided);
}

std::vector<std::int32_t> moving_layers(const plan& decided) {
  std::vector<std::int32_t> order;
  for (std::size_t layer = 0; layer < decided.layers.size(); ++layer) {
    if (decided.layers[layer].moves > 0) order.push_back(static_cast<std::int32_t>(layer));
  }
  std::stable_sort(order.begin(), order.end(), [&](std::int32_t a, std::int32_t b) {
    const layer_outcome& left = decided.layers[a];
    const layer_outcome& right = decided.layers[b];
    return left.risk_before - left.risk_after > right.risk_before - right.risk_after;
  });
  return order;
}

void apply_limits(const plan_request& request, const planning_task& task, plan& decided) {
  if (request.limits.max_moves_per_layer >= 0) {
    for (std::size_t layer = 0; layer < decided.layers.size(); ++layer) {
      if (decided.layers[layer].moves <= request.limits.max_moves_per_layer) continue;
      keep_layer(request, task, static_cast<int>(layer), decided);
    }
  }
  if (request.limits.max_bytes_per_rank < 0 || request.expert_bytes == 0) return;
  const std::int64_t budget = request.limits.max_bytes_per_rank / request.expert_bytes;  // experts
  const slot_layout& layout = decided.target.layout();
  arrival_counter arrivals(decided.target.experts());
  std::vector<std::int64_t> spent(static_cast<std::size_t>(layout.ranks()), 0);
  for (const std::int32_t layer : moving_layers(decided)) {
    std::vector<std::int64_t> with_layer = spent;
    arrivals.count(layout, request.current->experts_of(layer), decided.target.experts_of(layer),
                   with_layer);
    if (*std::max_element(with_layer.begin(), with_layer.end()) > budget) {
      keep_layer(request, task, layer, decided);
    } else {
      spent.swap(with_layer);
    }
  }
}

}  // namespace ballast
