#include "policies/flow_repack.hpp"

#include <algorithm>
#include <limits>

namespace ballast {

namespace {

constexpr int tries_per_slot = 4;

}  // namespace

bool flow_repacker::repack(const task& what, std::int64_t level) {
  const slot_layout& layout = what.state.layout();
  slots_.assign(what.start.begin(), what.start.end());
  if (!choose_counts(what, level)) return false;
  load_.assign(static_cast<std::size_t>(layout.ranks()), 0);
  occupied_.assign(load_.size(), 0);
  most_.clear();
  for (int rank = 0; rank < layout.ranks(); ++rank) {
    most_.push_back(what.state.load_at(rank, level));
    for (std::int32_t slot = layout.first(rank); slot < layout.first(rank + 1); ++slot) {
      if (slots_[slot] == no_expert) continue;
      load_[rank] += size(what, slots_[slot]);
      ++occupied_[rank];
    }
  }
  waiting_.clear();
  for (std::size_t expert = 0; expert < wanted_.size(); ++expert) {
    for (int more = wanted_[expert] - counts_[expert]; more > 0; --more) {
      const auto id = static_cast<std::int32_t>(expert);
      waiting_.push_back({size(what, id), id});
    }
  }
  clear_ranks(what);
  const auto lighter = [](const item& a, const item& b) {
    return a.size != b.size ? a.size < b.size : a.expert > b.expert;
  };
  std::make_heap(waiting_.begin(), waiting_.end(), lighter);
  for (std::int64_t tries = tries_per_slot * layout.slots(); !waiting_.empty(); --tries) {
    if (tries == 0) return false;
    std::pop_heap(waiting_.begin(), waiting_.end(), lighter);
    const item next = waiting_.back();
    waiting_.pop_back();
    const std::size_t before = waiting_.size();
    if (!place(what, next)) return false;
    if (waiting_.size() > before) std::push_heap(waiting_.begin(), waiting_.end(), lighter);
  }
  return true;
}

/// Replicas that the level takes, beside the lightest experts that fill a rank: more where there
/// are too few, fewer where that makes room for them, from the experts that it burdens least.
bool flow_repacker::choose_counts(const task& what, std::int64_t level) {
  const flow_state& state = what.state;
  const auto experts = static_cast<std::size_t>(state.experts_count());
  counts_.assign(experts, 0);
  std::int64_t free = 0;
  std::int64_t hosts = 0;
  for (const std::int32_t slots : what.usable) {
    free += slots;
    hosts += slots > 0 ? 1 : 0;
  }
  for (const std::int32_t expert : slots_) {
    if (expert == no_expert) continue;
    ++counts_[expert];
    --free;
  }
  std::int64_t lightest = std::numeric_limits<std::int64_t>::max();
  for (std::size_t expert = 0; expert < experts; ++expert) {
    lightest = std::min(lightest, state.weight(static_cast<std::int32_t>(expert)));
  }
  const std::int64_t beside = lightest * (state.slots() / state.ranks() - 1);
  if (level <= beside) return false;
  wanted_.resize(experts);
  needed_.resize(experts);
  for (std::size_t expert = 0; expert < experts; ++expert) {
    const std::int64_t weight = state.weight(static_cast<std::int32_t>(expert));
    const std::int64_t least = std::max<std::int64_t>((weight - 1) / (level - beside) + 1, 1);
    if (least > hosts) return false;
    needed_[expert] = static_cast<std::int32_t>(least);
    wanted_[expert] = std::max(counts_[expert], needed_[expert]);
    free -= wanted_[expert] - counts_[expert];
  }
  while (free < 0) {
    std::int32_t best = -1;
    for (std::size_t i = 0; i < experts; ++i) {
      const auto expert = static_cast<std::int32_t>(i);
      if (wanted_[expert] <= needed_[expert]) continue;
      if (best < 0 || static_cast<scaled_load>(state.weight(expert)) * (wanted_[best] - 1) <
                          static_cast<scaled_load>(state.weight(best)) * (wanted_[expert] - 1)) {
        best = expert;
      }
    }
    if (best < 0) return false;
    --wanted_[best];
    ++free;
    if (counts_[best] > wanted_[best]) drop_replica(what, best);
  }
  return true;
}

/// The one on the rank with most load by what the replicas there weigh.
void flow_repacker::drop_replica(const task& what, std::int32_t expert) {
  const slot_layout& layout = what.state.layout();
  std::int32_t worst = -1;
  std::int64_t most = -1;
  for (std::int32_t slot = 0; slot < layout.slots(); ++slot) {
    if (slots_[slot] != expert) continue;
    const int rank = layout.rank_of(slot);
    std::int64_t load = 0;
    for (std::int32_t held = layout.first(rank); held < layout.first(rank + 1); ++held) {
      if (slots_[held] != no_expert) load += size(what, slots_[held]);
    }
    if (load > most) {
      most = load;
      worst = slot;
    }
  }
  slots_[worst] = no_expert;
  --counts_[expert];
}

/// Takes out of every rank above the level the lightest replica that suffices, or else the
/// heaviest, until it is below.
void flow_repacker::clear_ranks(const task& what) {
  const slot_layout& layout = what.state.layout();
  for (int rank = 0; rank < layout.ranks(); ++rank) {
    while (load_[rank] > most_[rank]) {
      const std::int64_t excess = load_[rank] - most_[rank];
      std::int32_t best = -1;
      std::int64_t best_size = 0;
      for (std::int32_t slot = layout.first(rank); slot < layout.first(rank + 1); ++slot) {
        if (slots_[slot] == no_expert) continue;
        const std::int64_t here = size(what, slots_[slot]);
        const bool better = best < 0 ||
                            (here >= excess && (best_size < excess || here < best_size)) ||
                            (best_size < excess && here > best_size);
        if (!better) continue;
        best = slot;
        best_size = here;
      }
      take_out(what, best);
    }
  }
}

void flow_repacker::take_out(const task& what, std::int32_t slot) {
  const int rank = what.state.layout().rank_of(slot);
  const std::int32_t expert = slots_[slot];
  load_[rank] -= size(what, expert);
  --occupied_[rank];
  slots_[slot] = no_expert;
  waiting_.push_back({size(what, expert), expert});
}

/// Into the free slot that it fills best, where the expert was before all if there is such; else in
/// place of the lightest replica that may leave.
bool flow_repacker::place(const task& what, const item& next) {
  const slot_layout& layout = what.state.layout();
  std::int32_t best = -1;
  bool best_free = false;
  bool best_home = false;
  std::int64_t best_value = 0;
  for (int rank = 0; rank < layout.ranks(); ++rank) {
    if (what.usable[rank] == 0 || !what.homes.allows(rank, next.expert)) continue;
    const std::int64_t room = most_[rank] - load_[rank] - next.size;
    const auto first = slots_.begin() + layout.first(rank);
    const auto last = slots_.begin() + layout.first(rank + 1);
    if (std::find(first, last, next.expert) != last) continue;
    if (room >= 0 && occupied_[rank] < what.usable[rank]) {
      const auto origin = what.origin.subspan(layout.first(rank), layout.count(rank));
      const bool home = std::ranges::find(origin, next.expert) != origin.end();
      if (best_free && (best_home > home || (best_home == home && best_value <= room))) continue;
      best = static_cast<std::int32_t>(std::find(first, last, no_expert) - slots_.begin());
      best_free = true;
      best_home = home;
      best_value = room;
      continue;
    }
    if (best_free) continue;
    for (auto at = first; at != last; ++at) {
      if (*at == no_expert) continue;
      const std::int64_t leaving = size(what, *at);
      if (leaving >= next.size || room + leaving < 0) continue;
      if (best >= 0 && best_value <= leaving) continue;
      best = static_cast<std::int32_t>(at - slots_.begin());
      best_value = leaving;
    }
  }
  if (best < 0) return false;
  if (!best_free) take_out(what, best);
  const int rank = layout.rank_of(best);
  slots_[best] = next.expert;
  load_[rank] += next.size;
  ++occupied_[rank];
  return true;
}

}  // namespace ballast
