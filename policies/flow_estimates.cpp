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
// Levels over the mean, of which 2^20 are about the mean; times speeds times themselves below 2^63.
constexpr std::int64_t coarse_max = std::int64_t{1} << 29;
constexpr std::int64_t coarse_max_uneven = std::int64_t{1} << 24;

}  // namespace

void flow_search::label_blocks(flow_state& state) {
  state.label_blocks();
  block_of_ = state.block_of();
  fixed_load_.assign(block_of_.size(), -1);
  blocks_.clear();
  top_ = block_of_[0];
  const std::span<const flow_state::rank_block> known = state.blocks();
  for (const flow_state::rank_block& of : known) {
    blocks_.push_back({coarse(state, of.excess / std::max(of.ranks, 1)), of.speeds});
  }
  for (std::size_t i = 0; i < known.size(); ++i) {
    const std::int64_t over = blocks_[i].level - blocks_[top_].level;
    if (known[i].ranks > 0 && (over > 0 || (over == 0 && known[i].first < known[top_].first))) {
      top_ = static_cast<std::int32_t>(i);
    }
  }
  evenings_.assign(blocks_.size(), {});
}

std::int64_t flow_search::coarse(const flow_state& state, std::int64_t load) const {
  const std::int64_t most = state.uneven() ? coarse_max_uneven : coarse_max;
  return std::clamp(load >> state.score_shift(), -most, most);
}

/// A load that moves, in coarse units of level times speed.
std::int64_t flow_search::amount(const flow_state& state, std::int64_t load) const {
  return coarse(state, load) * mean_speed_;
}

/// The slots of the fullest block, those of the heaviest experts first.
void flow_search::list_sources(const flow_state& state) {
  const slot_layout& layout = state.layout();
  weighed_.clear();
  for (int rank = 0; rank < layout.ranks(); ++rank) {
    if (block_of_[rank] != top_) continue;
    for (std::int32_t slot = layout.first(rank); slot < layout.first(rank + 1); ++slot) {
      if (state.flow(slot) > 0) weighed_.push_back({state.weight(state.expert(slot)), slot});
    }
  }
  const auto heavier = [](const weighed_slot& a, const weighed_slot& b) {
    return a.weight != b.weight ? a.weight > b.weight : a.slot < b.slot;
  };
  if (weighed_.size() > max_sources) {
    std::nth_element(weighed_.begin(), weighed_.begin() + max_sources, weighed_.end(), heavier);
    weighed_.resize(max_sources);
  }
  std::sort(weighed_.begin(), weighed_.end(), heavier);
  sources_.clear();
  for (const weighed_slot& of : weighed_) sources_.push_back(of.slot);
}

/// Whether the heaviest of the sources may come here; where groups are kept on nodes, all of a node
/// may or none.
bool flow_search::may_relieve(const flow_state& state, int rank) const {
  return !homes_->kept() || std::ranges::any_of(sources_, [&](std::int32_t source) {
    return homes_->allows(rank, state.expert(source));
  });
}

void flow_search::list_targets(const flow_state& state) {
  // One number each, so that choosing compares no more than that: the level, then the rank.
  constexpr std::int64_t one_level = std::int64_t{1} << 32;
  keys_.clear();
  const std::int64_t top = blocks_[top_].level;
  for (int rank = 0; rank < state.ranks(); ++rank) {
    const std::int64_t level = blocks_[block_of_[rank]].level;
    if (usable_[rank] > 0 && level < top && may_relieve(state, rank)) {
      keys_.push_back(level * one_level + rank);
    }
  }
  if (keys_.size() > max_targets) {
    std::nth_element(keys_.begin(), keys_.begin() + max_targets, keys_.end());
    keys_.resize(max_targets);
  }
  std::sort(keys_.begin(), keys_.end());
  targets_.clear();
  for (const std::int64_t key : keys_) {
    targets_.push_back(static_cast<std::int32_t>(key & (one_level - 1)));
  }
}

/// What the sum of squared excesses over the mean loses when a block receives `amount`.
std::int64_t flow_search::squares_lost(const block& changed, std::int64_t amount) {
  const std::int64_t before = std::max<std::int64_t>(changed.level, 0);
  const std::int64_t after = std::max<std::int64_t>(changed.level + amount / changed.speeds, 0);
  return changed.speeds * (before - after) * (before + after);
}

flow_search::evening flow_search::evening_out(const block& from, const block& to) {
  const std::int64_t gap = from.level - to.level;
  const std::int64_t even = gap * from.speeds / (from.speeds + to.speeds) * to.speeds;
  return {from, to, even, squares_lost(from, -even) + squares_lost(to, even)};
}

/// With the fullest block, counted once a step.
const flow_search::evening& flow_search::evening_with(std::int32_t number) {
  evening& known = evenings_[number];
  if (known.to.speeds == 0) known = evening_out(blocks_[top_], blocks_[number]);
  return known;
}

/// What the sum of squares loses when up to `most` (at least `least`) goes from one block to the
/// other.
std::int64_t flow_search::transfer_gain(const evening& out, std::int64_t least, std::int64_t most) {
  if (least <= out.amount && out.amount <= most) return out.gain;
  const std::int64_t amount = std::clamp(out.amount, least, most);
  return squares_lost(out.from, -amount) + squares_lost(out.to, amount);
}

void flow_search::estimate_replacements(const flow_state& state) {
  if (state.equal_shares()) {
    estimate_equal_replacements(state);
    return;
  }
  if (sources_.empty()) return;
  const slot_layout& layout = state.layout();
  const block& top = blocks_[top_];
  const std::int64_t heaviest = amount(state, state.weight(state.expert(sources_[0])));
  for (const std::int32_t rank : targets_) {
    const std::int32_t number = block_of_[rank];
    // What any source brings here at most while the load that the block has now stays in it.
    const std::int64_t most = transfer_gain(evening_with(number), 0, heaviest);
    bool empty_seen = !ledger_.has_room(rank);
    for (std::int32_t slot = layout.first(rank); slot < layout.first(rank + 1); ++slot) {
      const std::int32_t leaving = state.expert(slot);
      evening out = evening_with(number);
      std::int64_t loss = 0;
      if (leaving == no_expert) {
        if (empty_seen || most <= least_offered()) continue;
        empty_seen = true;
      } else {
        if (state.replicas(leaving) < 2) continue;
        // Where others of the expert carry too, its load stays in the block.
        const bool leaves = state.flow(slot) > 0 && state.carriers(leaving) < 2;
        if (!leaves && most <= least_offered()) continue;
        loss = stranded(state, slot);
        if (!leaves && most - loss <= least_offered()) continue;
        const std::int64_t flow = amount(state, state.flow(slot));
        const std::int32_t refuge = flow > 0 ? refuge_of(state, slot) : number;
        if (refuge == top_) continue;
        if (refuge != number) {
          block host = blocks_[number];
          loss += transfer_loss(host, blocks_[refuge], flow);
          host.level -= flow / host.speeds;
          out = evening_out(top, host);
        }
      }
      int found = 0;
      std::int32_t last = no_expert;
      for (const std::int32_t source : sources_) {
        const std::int32_t expert = state.expert(source);
        if (expert == last || expert == leaving || !homes_->allows(rank, expert) ||
            state.holds(rank, expert)) {
          continue;
        }
        last = expert;
        const std::int64_t gain = transfer_gain(out, 0, amount(state, state.weight(expert))) - loss;
        if (gain <= least_offered()) break;
        offer(state, {gain, {source, slot, false}});
        if (++found == per_target) break;
      }
    }
  }
}

/// With equal shares one replica more relieves all hosts of an expert alike, and one less burdens
/// them.
void flow_search::estimate_equal_replacements(const flow_state& state) {
  const slot_layout& layout = state.layout();
  const auto burden = [&](std::int32_t expert, std::int64_t more) {
    std::int64_t gain = 0;
    for (std::int32_t slot = state.first_slot(expert); slot >= 0; slot = state.next_slot(slot)) {
      gain += squares_lost_at(state, layout.rank_of(slot), more);
    }
    return gain;
  };
  // What burdens all hosts of an expert is asked for again with every source and every replica.
  burdens_.assign(static_cast<std::size_t>(state.experts_count()), {});
  const auto burden_known = [&](std::int32_t expert, std::int64_t more) {
    burdened& known = burdens_[expert];
    if (known.more != more) known = {more, burden(expert, more)};
    return known.gain;
  };
  for (const std::int32_t source : sources_) {
    const std::int32_t expert = state.expert(source);
    const std::int64_t weight = state.weight(expert);
    const std::int64_t count = state.replicas(expert);
    const std::int64_t share = weight / (count + 1);
    const std::int64_t relief = burden(expert, share - weight / count);
    if (relief <= 0) continue;
    for (const std::int32_t rank : targets_) {
      if (!homes_->allows(rank, expert) || state.holds(rank, expert)) continue;
      bool empty_seen = !ledger_.has_room(rank);
      for (std::int32_t slot = layout.first(rank); slot < layout.first(rank + 1); ++slot) {
        const std::int32_t leaving = state.expert(slot);
        std::int64_t gain = relief;
        if (leaving == no_expert) {
          if (empty_seen) continue;
          empty_seen = true;
          gain += squares_lost_at(state, rank, share);
        } else {
          const std::int64_t others = state.replicas(leaving) - 1;
          if (others == 0) continue;
          const std::int64_t more = state.flow(slot) / others;
          gain += squares_lost_at(state, rank, share - state.flow(slot)) +
                  burden_known(leaving, more) - squares_lost_at(state, rank, more);
        }
        if (gain > 0) offer(state, {gain, {source, slot, false}});
      }
    }
  }
}

/// What the sum of squared excesses loses when a rank carries `more`.
std::int64_t flow_search::squares_lost_at(const flow_state& state, int rank,
                                          std::int64_t more) const {
  return squares_lost({coarse(state, state.level(rank) - state.mean()), state.rough_speed(rank)},
                      amount(state, more));
}

/// What the sum of squares gains on the last host of an expert whose replica leaves: the expert's
/// load and that of others without a second replica cannot go elsewhere.
std::int64_t flow_search::stranded(const flow_state& state, std::int32_t slot) {
  const std::int32_t expert = state.expert(slot);
  if (state.replicas(expert) != 2) return 0;
  const std::int32_t first = state.first_slot(expert);
  const int host = state.layout().rank_of(first == slot ? state.next_slot(first) : first);
  const std::int64_t fixed = state.weight(expert) + fixed_load(state, host);
  const std::int64_t level = coarse(state, state.level_at(host, fixed) - state.mean());
  if (level <= 0) return 0;
  return state.rough_speed(host) * level * level;
}

/// What a rank carries that no other replica could.
std::int64_t flow_search::fixed_load(const flow_state& state, int rank) {
  std::int64_t& fixed = fixed_load_[rank];
  if (fixed >= 0) return fixed;
  fixed = 0;
  const slot_layout& layout = state.layout();
  for (std::int32_t slot = layout.first(rank); slot < layout.first(rank + 1); ++slot) {
    if (!state.carries(slot)) fixed += state.flow(slot);
  }
  return fixed;
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
  // A swap costs two moves. None with a rank brings more than evening out with the rank's block.
  const std::int64_t most = (state.uneven() ? coarse_max_uneven : coarse_max) * mean_speed_;
  ceilings_.clear();
  for (std::size_t i = 0; i < std::min(targets_.size(), max_partners); ++i) {
    ceilings_.push_back(transfer_gain(evening_with(block_of_[targets_[i]]), 0, most) / 2);
  }
  for (std::size_t i = ceilings_.size(); i-- > 1;) {
    ceilings_[i - 1] = std::max(ceilings_[i - 1], ceilings_[i]);
  }
  const bool equal = state.equal_shares();
  for (const std::int32_t source : sources_) {
    const std::int32_t expert = state.expert(source);
    const std::int64_t weight = amount(state, equal ? state.flow(source) : state.weight(expert));
    const bool divides = !equal && state.replicas(expert) > 1;
    const int home = layout.rank_of(source);
    candidate best{least_offered(), {-1, -1, true}};
    for (std::size_t i = 0; i < ceilings_.size() && ceilings_[i] > best.value; ++i) {
      const int rank = targets_[i];
      const evening& out = evening_with(block_of_[rank]);
      if (!homes_->allows(rank, expert) || state.holds(rank, expert)) continue;
      for (std::int32_t slot = layout.first(rank); slot < layout.first(rank + 1); ++slot) {
        const std::int32_t other = state.expert(slot);
        if (other == no_expert) continue;
        const std::int64_t back = amount(state, equal ? state.flow(slot) : state.weight(other));
        const bool other_divides = !equal && state.replicas(other) > 1;
        const std::int64_t most = weight - (other_divides ? 0 : back);
        if (most <= 0 || (state.replicas(other) > 1 && state.holds(home, other)) ||
            !homes_->allows(home, other)) {
          continue;
        }
        const std::int64_t gain = transfer_gain(out, (divides ? 0 : weight) - back, most) / 2;
        if (gain > best.value) best = {gain, {source, slot, true}};
      }
    }
    if (best.change.to >= 0) offer(state, best);
  }
}

}  // namespace ballast
