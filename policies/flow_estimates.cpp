// What flow_search expects of moves before it tries them: load goes from the fullest block to an
// emptier one as if both could spread it evenly over all their ranks.

#include <algorithm>

#include "policies/flow_search.hpp"

namespace ballast {

namespace {

constexpr std::size_t max_sources = 48;   // slots of the fullest block that may be relieved
constexpr std::size_t max_targets = 128;  // emptiest ranks that may receive a replica
constexpr std::size_t max_partners = 40;  // of them, to swap with
constexpr int per_target = 2;
constexpr std::int64_t coarse_max = std::int64_t{1} << 29;

}  // namespace

void flow_search::label_blocks(const flow_state& state) {
  const slot_layout& layout = state.layout();
  block_of_.assign(static_cast<std::size_t>(layout.ranks()), -1);
  blocks_.clear();
  top_ = 0;
  for (int root = 0; root < layout.ranks(); ++root) {
    if (block_of_[root] >= 0) continue;
    const auto number = static_cast<std::int32_t>(blocks_.size());
    queue_.assign(1, root);
    block_of_[root] = number;
    std::int64_t sum = 0;
    for (std::size_t i = 0; i < queue_.size(); ++i) {
      const int rank = queue_[i];
      sum += state.load(rank) - state.mean();
      for (std::int32_t slot = layout.first(rank); slot < layout.first(rank + 1); ++slot) {
        const std::int32_t expert = state.expert(slot);
        if (!state.carries(slot)) continue;
        for (std::int32_t other = state.first_slot(expert); other >= 0;
             other = state.next_slot(other)) {
          const int reached = layout.rank_of(other);
          if (!state.carries(other) || block_of_[reached] >= 0) continue;
          block_of_[reached] = number;
          queue_.push_back(reached);
        }
      }
    }
    const auto count = static_cast<std::int32_t>(queue_.size());
    blocks_.push_back({coarse(state, sum / count), count});
    if (blocks_[number].level > blocks_[top_].level) top_ = number;
  }
}

std::int64_t flow_search::coarse(const flow_state& state, std::int64_t load) const {
  return std::clamp(load >> state.score_shift(), -coarse_max, coarse_max);
}

/// The slots of the fullest block, those of the heaviest experts first.
void flow_search::list_sources(const flow_state& state) {
  const slot_layout& layout = state.layout();
  sources_.clear();
  for (int rank = 0; rank < layout.ranks(); ++rank) {
    if (block_of_[rank] != top_) continue;
    for (std::int32_t slot = layout.first(rank); slot < layout.first(rank + 1); ++slot) {
      if (state.expert(slot) != no_expert && state.flow(slot) > 0) sources_.push_back(slot);
    }
  }
  const auto heavier = [&](std::int32_t a, std::int32_t b) {
    const std::int64_t left = state.weight(state.expert(a));
    const std::int64_t right = state.weight(state.expert(b));
    return left != right ? left > right : a < b;
  };
  if (sources_.size() > max_sources) {
    std::nth_element(sources_.begin(), sources_.begin() + max_sources, sources_.end(), heavier);
    sources_.resize(max_sources);
  }
  std::sort(sources_.begin(), sources_.end(), heavier);
}

void flow_search::list_targets(const flow_state& state) {
  targets_.clear();
  for (int rank = 0; rank < state.ranks(); ++rank) {
    if (blocks_[block_of_[rank]].level < blocks_[top_].level) targets_.push_back(rank);
  }
  const auto emptier = [&](std::int32_t a, std::int32_t b) {
    const std::int64_t left = blocks_[block_of_[a]].level;
    const std::int64_t right = blocks_[block_of_[b]].level;
    return left != right ? left < right : a < b;
  };
  if (targets_.size() > max_targets) {
    std::nth_element(targets_.begin(), targets_.begin() + max_targets, targets_.end(), emptier);
    targets_.resize(max_targets);
  }
  std::sort(targets_.begin(), targets_.end(), emptier);
}

/// What the sum of squared excesses over the mean loses when a block receives `amount`.
std::int64_t flow_search::squares_lost(const block& changed, std::int64_t amount) {
  const std::int64_t before = std::max<std::int64_t>(changed.level, 0);
  const std::int64_t after = std::max<std::int64_t>(changed.level + amount / changed.ranks, 0);
  return changed.ranks * (before - after) * (before + after);
}

/// What the sum of squares loses when up to `most` (at least `least`) goes from block `from` to
/// block `to`.
std::int64_t flow_search::transfer_gain(const block& from, const block& to, std::int64_t least,
                                        std::int64_t most) {
  const std::int64_t gap = from.level - to.level;
  const std::int64_t even = gap * from.ranks / (from.ranks + to.ranks) * to.ranks;
  const std::int64_t amount = std::clamp(even, least, most);
  return squares_lost(from, -amount) + squares_lost(to, amount);
}

void flow_search::estimate_replacements(const flow_state& state) {
  const slot_layout& layout = state.layout();
  const block& top = blocks_[top_];
  for (const std::int32_t rank : targets_) {
    const std::int32_t number = block_of_[rank];
    bool empty_seen = occupied_[rank] >= usable_[rank];
    for (std::int32_t slot = layout.first(rank); slot < layout.first(rank + 1); ++slot) {
      const std::int32_t leaving = state.expert(slot);
      block host = blocks_[number];
      std::int64_t loss = 0;
      if (leaving == no_expert) {
        if (empty_seen) continue;
        empty_seen = true;
      } else {
        if (state.replicas(leaving) < 2) continue;
        const std::int64_t flow = coarse(state, state.flow(slot));
        const std::int32_t refuge = flow > 0 ? refuge_of(state, slot) : number;
        if (refuge == top_) continue;
        if (refuge != number) {
          loss = transfer_loss(host, blocks_[refuge], flow);
          host.level -= flow / host.ranks;
        }
      }
      int found = 0;
      std::int32_t last = no_expert;
      for (const std::int32_t source : sources_) {
        const std::int32_t expert = state.expert(source);
        if (expert == last || expert == leaving || state.holds(rank, expert)) continue;
        last = expert;
        const std::int64_t gain =
            transfer_gain(top, host, 0, coarse(state, state.weight(expert))) - loss;
        if (gain <= 0) break;
        offer(state, {gain, source, slot, false});
        if (++found == per_target) break;
      }
    }
  }
}

/// The block that takes the load of a replica that leaves: its own if the expert still carries
/// there, otherwise the emptiest of its hosts'.
std::int32_t flow_search::refuge_of(const flow_state& state, std::int32_t slot) const {
  const std::int32_t own = block_of_[state.layout().rank_of(slot)];
  std::int32_t refuge = -1;
  const std::int32_t expert = state.expert(slot);
  for (std::int32_t other = state.first_slot(expert); other >= 0; other = state.next_slot(other)) {
    if (other == slot) continue;
    const std::int32_t host = block_of_[state.layout().rank_of(other)];
    if (state.carries(other)) return own;
    if (refuge < 0 || blocks_[host].level < blocks_[refuge].level) refuge = host;
  }
  return refuge;
}

std::int64_t flow_search::transfer_loss(const block& from, const block& to, std::int64_t amount) {
  return -squares_lost(from, -amount) - squares_lost(to, amount);
}

void flow_search::estimate_swaps(const flow_state& state) {
  const slot_layout& layout = state.layout();
  const block& top = blocks_[top_];
  // A swap costs two moves. None with a rank brings more than evening out with the rank's block.
  ceilings_.clear();
  for (std::size_t i = 0; i < std::min(targets_.size(), max_partners); ++i) {
    ceilings_.push_back(transfer_gain(top, blocks_[block_of_[targets_[i]]], 0, coarse_max) / 2);
  }
  for (const std::int32_t source : sources_) {
    const std::int32_t expert = state.expert(source);
    const std::int64_t weight = coarse(state, state.weight(expert));
    const bool divides = state.replicas(expert) > 1;
    const int home = layout.rank_of(source);
    candidate best{best_.size() == limit_ ? best_.back().value : 0, -1, -1, true};
    for (std::size_t i = 0; i < ceilings_.size(); ++i) {
      const int rank = targets_[i];
      const block& host = blocks_[block_of_[rank]];
      if (ceilings_[i] <= best.value || state.holds(rank, expert)) continue;
      for (std::int32_t slot = layout.first(rank); slot < layout.first(rank + 1); ++slot) {
        const std::int32_t other = state.expert(slot);
        if (other == no_expert) continue;
        const std::int64_t back = coarse(state, state.weight(other));
        const bool other_divides = state.replicas(other) > 1;
        const std::int64_t most = weight - (other_divides ? 0 : back);
        if (most <= 0 || (other_divides && state.holds(home, other))) continue;
        const std::int64_t gain = transfer_gain(top, host, (divides ? 0 : weight) - back, most) / 2;
        if (gain > best.value) best = {gain, source, slot, true};
      }
    }
    if (best.to >= 0) offer(state, best);
  }
}

}  // namespace ballast
