#include "policies/flow_shares.hpp"

#include <algorithm>
#include <numeric>

#include "policies/plan.hpp"

namespace ballast {

namespace {

constexpr std::int64_t level_one = std::int64_t{1} << 45;

}  // namespace

void share_solver::minimise_fullest(flow_state& state) {
  seen_rank_.assign(static_cast<std::size_t>(state.ranks()), 0);
  search_number_ = 0;
  std::int64_t limit = state.mean();
  for (;;) {
    int fullest = 0;
    for (int rank = 1; rank < state.ranks(); ++rank) {
      if (state.level(rank) > state.level(fullest)) fullest = rank;
    }
    if (state.load(fullest) <= state.load_at(fullest, limit)) return;
    // No load leaves the ranks that this one reaches, so their average is a lower bound: the Newton
    // step. While this one is above it, another of them is below.
    search(state, fullest, -1);
    limit = std::max(limit, average_reached(state));
    if (state.load(fullest) <= state.load_at(fullest, limit)) return;
    push(state, search(state, fullest, limit), limit);
  }
}

/// Breadth first from `start` over replicas that can hand load on. Returns the index of the first
/// step that reaches a rank below `limit`, or -1.
std::int32_t share_solver::search(const flow_state& state, int start, std::int64_t limit) {
  const slot_layout& layout = state.layout();
  ++search_number_;
  steps_.clear();
  steps_.push_back({start, -1, -1, -1, state.load(start)});
  seen_rank_[start] = search_number_;
  for (std::size_t i = 0; i < steps_.size(); ++i) {
    const int rank = steps_[i].rank;
    for (std::int32_t slot = layout.first(rank); slot < layout.first(rank + 1); ++slot) {
      const std::int32_t expert = state.expert(slot);
      if (expert == no_expert || state.replicas(expert) < 2 || state.flow(slot) == 0) continue;
      for (std::int32_t other = state.first_slot(expert); other >= 0;
           other = state.next_slot(other)) {
        const int reached = layout.rank_of(other);
        if (seen_rank_[reached] == search_number_) continue;
        seen_rank_[reached] = search_number_;
        steps_.push_back({reached, static_cast<std::int32_t>(i), slot, other, state.load(reached)});
        if (limit >= 0 && state.has_room(reached, limit))
          return static_cast<std::int32_t>(steps_.size()) - 1;
      }
    }
  }
  return -1;
}

/// The least level at which the ranks reached can carry what they carry.
std::int64_t share_solver::average_reached(const flow_state& state) const {
  flow_state::score_type sum = 0;
  std::int64_t speeds = 0;
  for (const step& reached : steps_) {
    sum += reached.load;
    speeds += state.speed(reached.rank);
  }
  if (!state.uneven()) return static_cast<std::int64_t>((sum + speeds - 1) / speeds);
  const auto room_at = [&](std::int64_t level) {
    flow_state::score_type room = 0;
    for (const step& reached : steps_) room += state.load_at(reached.rank, level);
    return room;
  };
  // Were nothing rounded, the level would be the sum over what all carry at level 1. That is known
  // to a 2^29th, since no speed is above 2^16 times the mean or below a 2^16th of it; and each rank
  // rounds away less than one.
  flow_state::score_type at_one = 0;
  for (const step& reached : steps_) at_one += state.load_at(reached.rank, level_one);
  const auto unrounded = static_cast<std::int64_t>(sum * level_one / at_one);
  const auto count = static_cast<flow_state::score_type>(steps_.size());
  std::int64_t low = std::max<std::int64_t>(unrounded - (unrounded >> 28) - 1, 0);
  std::int64_t high = unrounded + static_cast<std::int64_t>(count * level_one / at_one) + 2;
  while (low < high) {
    const std::int64_t middle = low + (high - low) / 2;
    if (room_at(middle) >= sum) {
      high = middle;
    } else {
      low = middle + 1;
    }
  }
  return low;
}

/// Moves as much along the path to step `last` as brings its start down, or its end up, to `limit`.
void share_solver::push(flow_state& state, std::int32_t last, std::int64_t limit) {
  const int from = steps_[0].rank;
  const int to = steps_[last].rank;
  std::int64_t amount = std::min(state.load(from) - state.load_at(from, limit),
                                 state.load_at(to, limit) - state.load(to));
  for (std::int32_t i = last; steps_[i].parent >= 0; i = steps_[i].parent) {
    amount = std::min(amount, state.flow(steps_[i].from_slot));
  }
  for (std::int32_t i = last; steps_[i].parent >= 0; i = steps_[i].parent) {
    state.shift(steps_[i].from_slot, steps_[i].to_slot, amount);
  }
}

void share_solver::round(const flow_state& state, std::span<const std::int64_t> loads,
                         std::span<std::int32_t> share_of_slot) {
  const slot_layout& layout = state.layout();
  std::fill(share_of_slot.begin(), share_of_slot.end(), 0);
  std::vector<scaled_load> rank_load(static_cast<std::size_t>(layout.ranks()), 0);
  order_.clear();
  for (std::size_t i = 0; i < loads.size(); ++i) {
    const auto expert = static_cast<std::int32_t>(i);
    const std::int64_t weight = state.weight(expert);
    std::int32_t left = share_one;
    for (std::int32_t slot = state.first_slot(expert); slot >= 0; slot = state.next_slot(slot)) {
      const std::int32_t share =
          weight > 0 ? static_cast<std::int32_t>(static_cast<scaled_load>(state.flow(slot)) *
                                                 share_one / weight)
                     : share_one / state.replicas(expert);
      share_of_slot[slot] = share;
      left -= share;
      rank_load[layout.rank_of(slot)] += static_cast<scaled_load>(loads[i]) * share;
    }
    if (left > 0) order_.push_back(expert);
  }
  std::sort(order_.begin(), order_.end(), [&](std::int32_t a, std::int32_t b) {
    return loads[a] != loads[b] ? loads[a] > loads[b] : a < b;
  });
  for (const std::int32_t expert : order_) {
    std::int32_t left = share_one;
    for (std::int32_t slot = state.first_slot(expert); slot >= 0; slot = state.next_slot(slot)) {
      left -= share_of_slot[slot];
    }
    for (; left > 0; --left) {
      std::int32_t best = -1;
      for (std::int32_t slot = state.first_slot(expert); slot >= 0; slot = state.next_slot(slot)) {
        if (best < 0) {
          best = slot;
          continue;
        }
        const int here = layout.rank_of(slot);
        const int there = layout.rank_of(best);
        const scaled_load by = rank_load[here] * state.speed(there);
        const scaled_load than = rank_load[there] * state.speed(here);
        if (by < than || (by == than && slot < best)) best = slot;
      }
      ++share_of_slot[best];
      rank_load[layout.rank_of(best)] += loads[expert];
    }
  }
}

}  // namespace ballast
