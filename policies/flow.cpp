#include "policies/flow.hpp"

#include <algorithm>

#include "policies/balance.hpp"

namespace ballast {

namespace {

// A layer this near its bound, one part in so many, is good enough. Evening out very many ranks to
// the last takes longer than it is worth.
constexpr std::int64_t gap_parts = 4096;
constexpr std::int64_t gap_parts_large = 512;
constexpr int large_ranks = 256;
constexpr std::int64_t worth_parts = 500;  // what a plan from nothing has to gain on one from here

}  // namespace

flow_planner::flow_planner(const cluster_map& cluster, std::span<const std::int32_t> usable_slots,
                           int experts)
    : usable_(usable_slots),
      experts_(experts),
      search_(cluster, usable_slots),
      aligner_(experts),
      deepseek_({experts, 1, 1, {usable_slots.begin(), usable_slots.end()}, false}) {
  for (const std::int32_t slots : usable_slots) {
    hosts_ += slots > 0 ? 1 : 0;
    usable_total_ += slots;
  }
}

void flow_planner::plan_layer(std::span<const std::int64_t> loads, const slot_layout& layout,
                              std::span<const std::int32_t> current,
                              const flow_allowance& allowance,
                              std::span<std::int32_t> expert_of_slot,
                              std::span<std::int32_t> share_of_slot) {
  start_.assign(current.begin(), current.end());
  repair_.repair(layout, usable_, experts_, start_);
  state_.start(loads, layout, start_);
  const std::int64_t bound = lower_bound(loads);
  const std::int64_t parts = layout.ranks() > large_ranks ? gap_parts_large : gap_parts;
  const flow_budget budget{allowance.moves, allowance.rank_left, bound + bound / parts};
  std::int64_t fullest = search_.improve(state_, current, budget);
  found_.assign(search_.best().begin(), search_.best().end());
  if (budget.moves < 0 && fullest > bound + bound / worth_parts) {
    plan_afresh(loads, layout, current, budget, fullest);
  }
  if (!std::ranges::equal(state_.experts(), found_)) state_.start(loads, layout, found_);
  shares_.minimise_fullest(state_);
  share_.resize(current.size());
  shares_.round(state_, loads, share_);
  write(layout, current, expert_of_slot, share_of_slot);
}

/// Starts from the greedy's placement instead of the current one and takes what comes of it if that
/// is clearly better: it moves nearly everything.
void flow_planner::plan_afresh(std::span<const std::int64_t> loads, const slot_layout& layout,
                               std::span<const std::int32_t> current, const flow_budget& budget,
                               std::int64_t fullest) {
  start_.resize(current.size());
  deepseek_.plan_layer(loads, layout, start_);
  state_.start(loads, layout, start_);
  const std::int64_t afresh = search_.improve(state_, current, budget);
  if (afresh + afresh / worth_parts >= fullest || !search_.affordable(search_.best())) return;
  found_.assign(search_.best().begin(), search_.best().end());
}

std::int64_t flow_planner::lower_bound(std::span<const std::int64_t> loads) const {
  const scaled_load bound = bound_with_free_shares(loads, hosts_, usable_total_);
  const int shift = 16 - state_.unit_shift();  // a scaled load is in 65536ths of a token
  return static_cast<std::int64_t>(bound >> shift);
}

/// Lets experts that stay on their rank keep their slots, and carries the shares along.
void flow_planner::write(const slot_layout& layout, std::span<const std::int32_t> current,
                         std::span<std::int32_t> expert_of_slot,
                         std::span<std::int32_t> share_of_slot) {
  std::copy(state_.experts().begin(), state_.experts().end(), expert_of_slot.begin());
  for (int rank = 0; rank < layout.ranks(); ++rank) {
    const auto first = static_cast<std::size_t>(layout.first(rank));
    const auto count = static_cast<std::size_t>(layout.count(rank));
    aligner_.align(current.subspan(first, count), expert_of_slot.subspan(first, count));
    for (std::size_t slot = first; slot < first + count; ++slot) {
      share_of_slot[slot] = 0;
      if (expert_of_slot[slot] == no_expert) continue;
      std::size_t at = first;
      while (state_.expert(static_cast<std::int32_t>(at)) != expert_of_slot[slot]) ++at;
      share_of_slot[slot] = share_[at];
    }
  }
}

}  // namespace ballast
