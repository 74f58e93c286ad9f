#include "policies/flow_spread.hpp"

#include <algorithm>

namespace ballast {

namespace {

// Exchanges whose effect is computed at most.
constexpr int tries_per_arrival = 4;  // of all together
constexpr int tries_per_slot = 8;     // of one

}  // namespace

node_spreader::node_spreader(const cluster_map& cluster) {
  for (const rank_place& place : cluster.ranks) {
    node_of_.push_back(place.node);
    nodes_ = std::max(nodes_, place.node + 1);
  }
}

void node_spreader::spread(flow_state& state, std::span<const std::int32_t> origin,
                           std::int64_t limit,
                           const std::function<bool(std::span<const std::int32_t>)>& allows) {
  if (nodes_ == 1) return;
  const slot_layout& layout = state.layout();
  held_.assign(static_cast<std::size_t>(state.experts_count()) * nodes_, 0);
  arriving_.clear();
  for (int rank = 0; rank < layout.ranks(); ++rank) {
    const auto before = origin.subspan(layout.first(rank), layout.count(rank));
    for (std::int32_t slot = layout.first(rank); slot < layout.first(rank + 1); ++slot) {
      const std::int32_t expert = state.expert(slot);
      if (expert == no_expert) continue;
      ++held(expert, node_of_[rank]);
      if (std::ranges::find(before, expert) == before.end()) arriving_.push_back(slot);
    }
  }
  std::stable_sort(arriving_.begin(), arriving_.end(), [&](std::int32_t a, std::int32_t b) {
    return state.weight(state.expert(a)) > state.weight(state.expert(b));
  });
  tries_ = tries_per_arrival * static_cast<int>(arriving_.size());
  for (const std::int32_t slot : arriving_) improve(state, slot, limit, allows);
}

/// Whether the expert of a slot came to another node.
bool node_spreader::improve(flow_state& state, std::int32_t slot, std::int64_t limit,
                            const std::function<bool(std::span<const std::int32_t>)>& allows) {
  const slot_layout& layout = state.layout();
  const std::int32_t expert = state.expert(slot);
  const int rank = layout.rank_of(slot);
  const int node = node_of_[rank];
  if (held(expert, node) < 2) return false;
  int tries = std::min(tries_, tries_per_slot);
  for (const std::int32_t other : arriving_) {
    const std::int32_t back = state.expert(other);
    const int there = node_of_[layout.rank_of(other)];
    if (held(expert, there) > 0 || state.holds(rank, back)) continue;
    if (held(back, there) == 1 && held(back, node) > 0) continue;  // what is won here is lost there
    if (tries-- == 0) break;
    --tries_;
    state.begin_trial();
    state.swap(slot, other);
    state.settle();
    if (state.fullest() > limit || !allows(state.experts())) {
      state.roll_back();
      continue;
    }
    state.keep();
    --held(expert, node);
    ++held(expert, there);
    --held(back, there);
    ++held(back, node);
    return true;
  }
  return false;
}

}  // namespace ballast
