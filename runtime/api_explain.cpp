// The exported functions that say what the moves of a plan buy: each is one call of guard().
#include <fmt/format.h>

#include <algorithm>

#include "policies/explain.hpp"
#include "runtime/error.hpp"
#include "runtime/guard.hpp"
#include "runtime/plan_handle.hpp"

using ballast::copy_out;
using ballast::error;
using ballast::guard;
using ballast::require_argument;

namespace {

double tokens(ballast::scaled_load load) { return static_cast<double>(load) / ballast::share_one; }

/// The move of the schedule that brings `expert` into the slot; a slot inside a permuted rank may
/// receive more than once.
const ballast::scheduled_move* arrival(const ballast_plan& plan, int layer, int slot, int expert) {
  const auto& moves = plan.steps.moves;
  const auto found = std::ranges::find_if(moves, [&](const ballast::scheduled_move& move) {
    return move.layer == layer && move.target_slot == slot && move.expert == expert;
  });
  return found == moves.end() ? nullptr : &*found;
}

ballast_plan_move describe(const ballast_plan& plan, int layer, int number,
                           const ballast::plan_step& step, const ballast::slot_change& change) {
  ballast_plan_move move = {};
  move.struct_size = sizeof(move);
  move.step = number;
  move.expert = change.to;
  move.displaced = change.from;
  move.to_slot = change.slot;
  move.to_rank = plan.current.layout().rank_of(change.slot);
  move.from_slot = move.from_rank = move.link = -1;
  if (const auto* from = arrival(plan, layer, change.slot, change.to)) {
    move.from_slot = from->source_slot;
    move.from_rank = from->source_rank;
    move.link = static_cast<int32_t>(from->link);
  }
  move.relieved_rank = step.relieved_rank;
  move.relieves_fullest = step.relieves_fullest ? 1 : 0;
  move.max_before = tokens(step.max_before);
  move.max_after = tokens(step.max_after);
  move.relieved_before = tokens(step.relieved_before);
  move.relieved_after = tokens(step.relieved_after);
  return move;
}

}  // namespace

extern "C" {

ballast_status ballast_plan_explain(ballast_plan* plan, int32_t layer,
                                    ballast_plan_explanation* explanation) {
  return guard([&] {
    require_argument(plan, "plan");
    const ballast::placement& target = plan->made.target;
    if (layer < 0 || layer >= target.layers()) {
      throw error(BALLAST_ERROR_INVALID_ARGUMENT,
                  fmt::format("layer {} is not in 0..{}", layer, target.layers() - 1));
    }
    const auto experts = static_cast<std::size_t>(target.experts());
    const ballast::layer_explanation why = ballast::explain_layer(
        std::span(plan->loads).subspan(layer * experts, experts), plan->current.layout(),
        {plan->current.experts_of(layer), plan->current.shares_of(layer)},
        {target.experts_of(layer), target.shares_of(layer)});

    std::vector<ballast_plan_move> moves;
    for (std::size_t number = 0; number < why.steps.size(); ++number) {
      for (const ballast::slot_change& change : why.steps[number].changes)
        moves.push_back(
            describe(*plan, layer, static_cast<int>(number), why.steps[number], change));
    }
    const ballast::layer_outcome& outcome = plan->made.layers[layer];
    ballast_plan_explanation result = {};
    result.struct_size = sizeof(result);
    result.layer = layer;
    result.steps = static_cast<int32_t>(why.steps.size());
    result.moves = static_cast<int64_t>(moves.size());
    result.mean = tokens(outcome.total) / plan->made.living_ranks;
    result.max_before = tokens(why.max_before);
    result.max_reshared = tokens(why.max_reshared);
    result.max_after = tokens(why.max_after);
    result.max_bound = tokens(outcome.bound);
    copy_out(result, explanation, "explanation");
    plan->moves = std::move(moves);
  });
}

ballast_status ballast_plan_read_move(const ballast_plan* plan, int64_t index,
                                      ballast_plan_move* move) {
  return guard([&] {
    require_argument(plan, "plan");
    if (index < 0 || index >= static_cast<int64_t>(plan->moves.size())) {
      throw error(BALLAST_ERROR_STATE, fmt::format("move {}: the layer explained last has {}",
                                                   index, plan->moves.size()));
    }
    copy_out(plan->moves[static_cast<std::size_t>(index)], move, "move");
  });
}

}  // extern "C"
