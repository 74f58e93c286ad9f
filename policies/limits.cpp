#include "policies/limits.hpp"

#include <algorithm>
#include <limits>

#include "policies/balance.hpp"
#include "policies/repair.hpp"
#include "policies/request.hpp"

namespace ballast {

bool is_limited(const plan_limits& limits) {
  return limits.max_moves_per_layer >= 0 || limits.max_moves_total >= 0 ||
         limits.max_bytes_per_rank >= 0 ||
         std::ranges::any_of(limits.max_bytes_per_link, [](auto bytes) { return bytes >= 0; });
}

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
void clear_masked(const plan_request& request, const planning_tasks& tasks, int layer,
                  plan& decided) {
  const placement& current = *request.current;
  const auto experts = decided.target.experts_of(layer);
  layer_repair().repair(current.layout(), tasks.of(layer).usable_slots, current.experts(), experts);
  if (std::ranges::equal(experts, current.experts_of(layer))) return;
  const auto shares = decided.target.shares_of(layer);
  set_equal_shares(experts, current.experts(), shares);
  const auto count = static_cast<std::size_t>(current.experts());
  layer_outcome& outcome = decided.layers[layer];
  outcome.max_after = fullest_rank_load(request.loads.subspan(layer * count, count), experts,
                                        shares, current.layout(), tasks.of(layer).speeds);
  outcome.risk_after = outcome.max_after;
  outcome.moves = arrival_counter(current.experts())
                      .count(current.layout(), current.experts_of(layer), experts);
}

}  // namespace

void keep_layer(const plan_request& request, const planning_tasks& tasks, int layer,
                plan& decided) {
  const auto experts = request.current->experts_of(layer);
  const auto shares = request.current->shares_of(layer);
  std::copy(experts.begin(), experts.end(), decided.target.experts_of(layer).begin());
  std::copy(shares.begin(), shares.end(), decided.target.shares_of(layer).begin());
  decided.layers[layer].max_after = decided.layers[layer].max_before;
  decided.layers[layer].risk_after = decided.layers[layer].risk_before;
  decided.layers[layer].moves = 0;
  if (has_masked_ranks(request)) clear_masked(request, tasks, layer, decided);
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

void apply_limits(const plan_request& request, const planning_tasks& tasks, plan& decided) {
  if (request.limits.max_moves_per_layer >= 0) {
    for (std::size_t layer = 0; layer < decided.layers.size(); ++layer) {
      if (decided.layers[layer].moves <= request.limits.max_moves_per_layer) continue;
      keep_layer(request, tasks, static_cast<int>(layer), decided);
    }
  }
  const std::vector<std::int64_t> purse = purse_of(request);
  const std::int64_t most = request.limits.max_moves_total;
  if (purse.empty() && most < 0) return;
  std::vector<std::int64_t> spent(purse.size(), 0);
  std::int64_t moves = 0;
  for (const std::int32_t layer : moving_layers(decided)) {
    std::vector<std::int64_t> with_layer = spent;
    if (!purse.empty()) {
      add_spent(request, request.current->experts_of(layer), decided.target.experts_of(layer),
                with_layer);
    }
    const bool fits = std::ranges::equal(with_layer, purse, std::ranges::less_equal()) &&
                      (most < 0 || moves + decided.layers[layer].moves <= most);
    if (!fits) keep_layer(request, tasks, layer, decided);
    if (!fits) continue;
    spent.swap(with_layer);
    moves += decided.layers[layer].moves;
  }
}

std::vector<std::int64_t> purse_of(const plan_request& request) {
  constexpr std::int64_t any = std::numeric_limits<std::int64_t>::max();
  const plan_limits& limits = request.limits;
  if (request.expert_bytes == 0) return {};
  bool limited = limits.max_bytes_per_rank >= 0;
  std::vector<std::int64_t> purse(static_cast<std::size_t>(request.current->layout().ranks()),
                                  limited ? limits.max_bytes_per_rank / request.expert_bytes : any);
  for (const std::int64_t bytes : limits.max_bytes_per_link) {
    purse.push_back(bytes >= 0 ? bytes / request.expert_bytes : any);
    limited = limited || bytes >= 0;
  }
  return limited ? purse : std::vector<std::int64_t>();
}

link_class nearest_link(const cluster_map& cluster, std::span<const std::int32_t> hosts, int rank) {
  link_class nearest = link_class::remote;
  for (const std::int32_t host : hosts) {
    const rank_place& from = cluster.ranks[host];
    const rank_place& to = cluster.ranks[rank];
    const link_class link = from.island == to.island ? link_class::island
                            : from.node == to.node   ? link_class::node
                                                     : link_class::remote;
    nearest = std::min(nearest, link);
  }
  return nearest;
}

void add_spent(const plan_request& request, std::span<const std::int32_t> current,
               std::span<const std::int32_t> target, std::span<std::int64_t> spent) {
  const slot_layout& layout = request.current->layout();
  std::vector<std::vector<std::int32_t>> hosts(
      static_cast<std::size_t>(request.current->experts()));
  for (int slot = 0; slot < layout.slots(); ++slot) {
    if (current[slot] != no_expert) hosts[current[slot]].push_back(layout.rank_of(slot));
  }
  for (int slot = 0; slot < layout.slots(); ++slot) {
    if (target[slot] == no_expert) continue;
    const auto& before = hosts[target[slot]];
    const int rank = layout.rank_of(slot);
    if (std::ranges::find(before, rank) != before.end()) continue;
    ++spent[rank];
    ++spent[layout.ranks() + static_cast<int>(nearest_link(*request.cluster, before, rank))];
  }
}

}  // namespace ballast
