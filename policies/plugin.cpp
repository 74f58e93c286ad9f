#include "policies/plugin.hpp"

#include <algorithm>
#include <stdexcept>

#include "policies/align.hpp"
#include "policies/balance.hpp"
#include "policies/limits.hpp"
#include "policies/plan.hpp"
#include "policies/request.hpp"

namespace ballast {

namespace {

std::string number(std::int64_t value) { return std::to_string(value); }

std::string why_unusable(const placement& target, const planning_tasks& tasks) {
  const slot_layout& layout = target.layout();
  for (int layer = 0; layer < target.layers(); ++layer) {
    const std::vector<std::int32_t>& usable = tasks.of(layer).usable_slots;
    for (int rank = 0; rank < layout.ranks(); ++rank) {
      const auto held = target.experts_of(layer).subspan(layout.first(rank), layout.count(rank));
      const std::int64_t occupied =
          std::ranges::count_if(held, [](std::int32_t expert) { return expert != no_expert; });
      if (occupied > usable[rank]) {
        return "layer " + number(layer) + ": rank " + number(rank) + " holds " + number(occupied) +
               " experts in " + number(usable[rank]) + " usable slots";
      }
    }
  }
  return {};
}

/// Counts the moves of all layers on the way.
std::string why_beyond_limits(const plan_request& request, plan& decided) {
  const placement& target = decided.target;
  const plan_limits& limits = request.limits;
  arrival_counter arrivals(target.experts());
  std::vector<std::int64_t> received(static_cast<std::size_t>(target.layout().ranks()), 0);
  for (int layer = 0; layer < target.layers(); ++layer) {
    std::int32_t& moves = decided.layers[layer].moves;
    moves = arrivals.count(target.layout(), request.current->experts_of(layer),
                           target.experts_of(layer), received);
    if (limits.max_moves_per_layer >= 0 && moves > limits.max_moves_per_layer) {
      return "layer " + number(layer) + ": " + number(moves) + " moves, allowed are " +
             number(limits.max_moves_per_layer);
    }
  }
  if (limits.max_bytes_per_rank < 0 || request.expert_bytes == 0) return {};
  const auto most = std::ranges::max_element(received);
  if (*most <= limits.max_bytes_per_rank / request.expert_bytes) return {};
  return "rank " + number(most - received.begin()) + " would receive " + number(*most) +
         " experts of " + number(request.expert_bytes) + " bytes, allowed are " +
         number(limits.max_bytes_per_rank) + " bytes";
}

/// Permutes experts and shares of a rank alike; no expert is on it twice.
void keep_slots(const plan_request& request, slot_aligner& aligner, int layer, placement& target) {
  const slot_layout& layout = target.layout();
  std::vector<std::int32_t> planned;
  std::vector<std::int32_t> shares;
  for (int rank = 0; rank < layout.ranks(); ++rank) {
    const auto first = static_cast<std::size_t>(layout.first(rank));
    const auto count = static_cast<std::size_t>(layout.count(rank));
    const auto experts = target.experts_of(layer).subspan(first, count);
    const auto share = target.shares_of(layer).subspan(first, count);
    planned.assign(experts.begin(), experts.end());
    shares.assign(share.begin(), share.end());
    aligner.align(request.current->experts_of(layer).subspan(first, count), experts);
    for (std::size_t slot = 0; slot < count; ++slot) {
      const auto at = std::ranges::find(planned, experts[slot]) - planned.begin();
      share[slot] = experts[slot] == no_expert ? 0 : shares[static_cast<std::size_t>(at)];
    }
  }
}

}  // namespace

void plan_by_plugin(const plan_request& request, const planning_tasks& tasks, plan& decided) {
  placement& target = decided.target;
  request.plugin->plan(request, tasks.usable_slots, target);
  std::string why = why_illegal(target, request.compatible);
  if (why.empty()) why = why_unusable(target, tasks);
  if (why.empty()) why = why_beyond_limits(request, decided);
  if (!why.empty()) throw std::invalid_argument("policy " + request.policy + ": " + why);
  const placement& current = *request.current;
  slot_aligner aligner(target.experts());
  const auto experts = static_cast<std::size_t>(target.experts());
  for (int layer = 0; layer < target.layers(); ++layer) {
    if (!request.compatible) keep_slots(request, aligner, layer, target);
    const auto loads = request.loads.subspan(layer * experts, experts);
    layer_outcome& outcome = decided.layers[layer];
    outcome.max_before =
        fullest_rank_load(loads, current.experts_of(layer), current.shares_of(layer),
                          current.layout(), tasks.of(layer).speeds);
    outcome.max_after = fullest_rank_load(loads, target.experts_of(layer), target.shares_of(layer),
                                          current.layout(), tasks.of(layer).speeds);
    outcome.risk_before = outcome.max_before;
    outcome.risk_after = outcome.max_after;
  }
}

}  // namespace ballast
