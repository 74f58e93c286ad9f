#include "policies/hedge.hpp"

#include <algorithm>
#include <numeric>

namespace ballast {

namespace {

constexpr std::size_t top_ranks = 2;       // whose experts are tried elsewhere
constexpr std::size_t partner_ranks = 12;  // of the lowest score that may hold them
constexpr int steps_max = 200;
constexpr std::size_t tries = 48;  // changes of divided experts whose effect is computed, a step
// What a move has to gain: the square of a 64th of the mean load, in units of score. It keeps
// moves from following noise.
constexpr std::int64_t price = std::int64_t{1} << 16;
// Ranks that stay below the highest risk by so much are left alone: one part in so many.
constexpr std::int64_t depth_parts = 5;
constexpr int free_value = 4;  // changes that bring nothing new are worth that much more

}  // namespace

void hedge_search::improve(hedge_state& state, std::span<const std::int32_t> origin,
                           const hedge_limits& limits) {
  limits_ = limits;
  even_ = state.even();
  const slot_layout& layout = state.layout();
  std::int32_t experts = 0;
  for (const std::int32_t expert : state.experts()) experts = std::max(experts, expert + 1);
  for (const std::int32_t expert : origin) experts = std::max(experts, expert + 1);
  list_origin(layout, origin, experts);
  moves_ = 0;
  occupied_.assign(static_cast<std::size_t>(layout.ranks()), 0);
  closed_.assign(occupied_.size(), 0);
  for (std::int32_t slot = 0; slot < layout.slots(); ++slot) {
    if (state.expert(slot) == no_expert) continue;
    ++occupied_[layout.rank_of(slot)];
    moves_ += was_on(layout.rank_of(slot), state.expert(slot)) ? 0 : 1;
  }
  stuck_.assign(occupied_.size(), 0);
  state.split_all();
  for (int step = 0; step < steps_max; ++step) {
    rank_by_score(state);
    choose_tops();
    if (tops_.empty()) break;
    const candidate best = best_change(state);
    if (best.from < 0) {
      for (const std::size_t top : tops_) stuck_[order_[top]] = 1;
      continue;
    }
    const int there = arrivals(state, state.expert(best.from), best.to);
    const int back = best.swaps ? arrivals(state, state.expert(best.to), best.from) : 0;
    const bool fills = state.expert(best.to) == no_expert;
    state.begin_trial(best.from, best.to);
    apply(state, best);
    if (limits_.affordable && !limits_.affordable(state.experts())) {
      state.roll_back();
      closed_[layout.rank_of(there > 0 ? best.to : best.from)] = 1;
      continue;
    }
    moves_ += there + back;
    stuck_[layout.rank_of(best.from)] = 0;
    stuck_[layout.rank_of(best.to)] = 0;
    occupied_[layout.rank_of(best.to)] += fills ? 1 : 0;
    state.split_all();
  }
  state.split_all();
}

void hedge_search::list_origin(const slot_layout& layout, std::span<const std::int32_t> origin,
                               int experts) {
  words_ = (static_cast<std::size_t>(layout.ranks()) + 63) / 64;
  held_before_.assign(static_cast<std::size_t>(experts) * words_, 0);
  for (std::int32_t slot = 0; slot < layout.slots(); ++slot) {
    if (origin[slot] == no_expert) continue;
    const int rank = layout.rank_of(slot);
    held_before_[origin[slot] * words_ + rank / 64] |= std::uint64_t{1} << (rank % 64);
  }
}

void hedge_search::rank_by_score(hedge_state& state) {
  const auto ranks = static_cast<std::size_t>(state.layout().ranks());
  risks_.resize(ranks);
  for (std::size_t rank = 0; rank < ranks; ++rank)
    risks_[rank] = state.risk(static_cast<int>(rank));
  const std::int64_t highest = *std::ranges::max_element(risks_);
  state.set_base(highest - highest / depth_parts);
  scores_.resize(ranks);
  for (std::size_t rank = 0; rank < ranks; ++rank)
    scores_[rank] = state.score(static_cast<int>(rank));
  order_.resize(ranks);
  std::iota(order_.begin(), order_.end(), 0);
  std::sort(order_.begin(), order_.end(), [&](std::int32_t a, std::int32_t b) {
    if (scores_[a] != scores_[b]) return scores_[a] > scores_[b];
    return risks_[a] != risks_[b] ? risks_[a] > risks_[b] : a < b;
  });
}

/// By how much the experts that a rank has to receive change.
int hedge_search::arrivals(const hedge_state& state, std::int32_t expert, std::int32_t slot) const {
  const int rank = state.layout().rank_of(slot);
  const std::int32_t leaving = state.expert(slot);
  return (was_on(rank, expert) ? 0 : 1) - (leaving == no_expert || was_on(rank, leaving) ? 0 : 1);
}

/// The ranks of highest score, as places in order_: not those for which nothing was found, since
/// one whose load is that of a single expert can stay as it is while others still come down; and
/// only those that stand out.
void hedge_search::choose_tops() {
  hedge_state::score_type sum = 0;
  for (const hedge_state::score_type score : scores_) sum += score;
  const auto ranks = static_cast<hedge_state::score_type>(risks_.size());
  tops_.clear();
  for (std::size_t i = 0; i < order_.size() && tops_.size() < top_ranks; ++i) {
    if (i >= top_ranks && scores_[order_[i]] * ranks < 2 * sum) break;
    if (!stuck_[order_[i]]) tops_.push_back(i);
  }
}

hedge_search::candidate hedge_search::best_change(hedge_state& state) {
  const slot_layout& layout = state.layout();
  candidate best;
  promising_.clear();
  const std::size_t ranks = order_.size();
  for (const std::size_t top : tops_) {
    const int home = order_[top];
    for (std::int32_t from = layout.first(home); from < layout.first(home + 1); ++from) {
      const std::int32_t expert = state.expert(from);
      if (expert == no_expert) continue;
      std::size_t partners = 0;
      for (std::size_t i = ranks; i-- > top + 1 && partners < partner_ranks;) {
        const int rank = order_[i];
        if (!limits_.homes->allows(rank, expert)) continue;
        ++partners;
        if (state.holds(rank, expert)) continue;
        bool filled = occupied_[rank] >= limits_.usable_slots[rank];
        for (std::int32_t to = layout.first(rank); to < layout.first(rank + 1); ++to) {
          const std::int32_t other = state.expert(to);
          if (other == no_expert) {
            if (!filled) consider(state, from, to, false, best);
            filled = true;
            continue;
          }
          if (state.slots_of(other).size() > 1) consider(state, from, to, false, best);
          if (!state.holds(home, other) && limits_.homes->allows(home, other)) {
            consider(state, from, to, true, best);
          }
        }
      }
    }
  }
  try_promising(state, best);
  return best;
}

void hedge_search::consider(const hedge_state& state, std::int32_t from, std::int32_t to,
                            bool swaps, candidate& best) {
  const slot_layout& layout = state.layout();
  const int there = arrivals(state, state.expert(from), to);
  const int back = swaps ? arrivals(state, state.expert(to), from) : 0;
  const int more = there + back;
  if (more > 0 && limits_.moves >= 0 && moves_ + more > limits_.moves) return;
  if ((there > 0 && closed_[layout.rank_of(to)]) || (back > 0 && closed_[layout.rank_of(from)])) {
    return;
  }
  if (!may_win(state, from, to, swaps, more, best)) return;
  candidate next{0, from, to, swaps, more};
  if (swaps && are_single(state, from, to)) {
    next.value = worth(state.gain_of_swap(from, to), more);
    if (next.value > best.value) best = next;
    return;
  }
  next.value = worth(estimate(state, next), more);
  promising_.push_back(next);
}

/// Makes those changes that promise most, one at a time, to see what they bring.
void hedge_search::try_promising(hedge_state& state, candidate& best) {
  const auto better = [](const candidate& a, const candidate& b) {
    if (a.value != b.value) return a.value > b.value;
    return a.from != b.from ? a.from < b.from : a.to != b.to ? a.to < b.to : a.swaps < b.swaps;
  };
  const std::size_t count = std::min(tries, promising_.size());
  const auto end = promising_.begin() + static_cast<std::ptrdiff_t>(count);
  std::nth_element(promising_.begin(), end, promising_.end(), better);
  std::sort(promising_.begin(), end, better);
  for (std::size_t i = 0; i < count; ++i) {
    candidate next = promising_[i];
    if (!may_win(state, next.from, next.to, next.swaps, next.more, best)) continue;
    state.begin_trial(next.from, next.to);
    apply(state, next);
    next.value = worth(state.gain(), next.more);
    state.roll_back();
    if (next.value > best.value) best = next;
  }
}

/// What a change gains by the risks there are, as if load alone counted and could be shifted just
/// so.
hedge_state::score_type hedge_search::estimate(const hedge_state& state,
                                               const candidate& next) const {
  return next.swaps ? estimate_swap(state, next) : estimate_replica(state, next);
}

/// The two ranks alone even out, as far as the experts allow that are divided.
hedge_state::score_type hedge_search::estimate_swap(const hedge_state& state,
                                                    const candidate& next) const {
  const int home = state.layout().rank_of(next.from);
  const int rank = state.layout().rank_of(next.to);
  const std::int32_t expert = state.expert(next.from);
  const std::int32_t other = state.expert(next.to);
  std::int64_t least = state.flow(next.from) - state.flow(next.to);
  std::int64_t most = least;
  if (state.slots_of(expert).size() > 1) {
    least -= state.flow(next.from);
    most += state.weight(expert) - state.flow(next.from);
  }
  if (state.slots_of(other).size() > 1) {
    least -= state.weight(other) - state.flow(next.to);
    most += state.flow(next.to);
  }
  const auto parts = static_cast<std::int64_t>(state.slots_of(expert).size());
  const auto other_parts = static_cast<std::int64_t>(state.slots_of(other).size());
  const std::int64_t goes = state.own_risk(expert, parts) - state.own_risk(other, other_parts);
  const std::int64_t here = risks_[home] - goes;
  const std::int64_t there = risks_[rank] + goes;
  const std::int64_t shifted = std::clamp((here - there) / 2, least, most);
  const std::int64_t newest_goes = state.newest_flow(next.from) - state.newest_flow(next.to) +
                                   shifted - (state.flow(next.from) - state.flow(next.to));
  return scores_[home] + scores_[rank] -
         state.score_at(here - shifted, state.newest(home) - newest_goes) -
         state.score_at(there + shifted, state.newest(rank) + newest_goes);
}

/// All hosts of the expert give alike to the new one; what leaves there goes to its other hosts
/// alike.
hedge_state::score_type hedge_search::estimate_replica(const hedge_state& state,
                                                       const candidate& next) const {
  const slot_layout& layout = state.layout();
  const auto hosts = state.slots_of(state.expert(next.from));
  const auto count = static_cast<std::int64_t>(hosts.size());
  const std::int32_t leaving = state.expert(next.to);
  const int rank = layout.rank_of(next.to);
  std::int64_t there = risks_[rank];
  std::int64_t newest_there = state.newest(rank);
  hedge_state::score_type gain = scores_[rank];
  if (leaving != no_expert) {
    const auto others = state.slots_of(leaving);
    const auto left = static_cast<std::int64_t>(others.size()) - 1;
    const std::int64_t more = state.flow(next.to) / left + state.own_risk(leaving, left) -
                              state.own_risk(leaving, left + 1);
    there -= state.flow(next.to) + state.own_risk(leaving, left + 1);
    newest_there -= state.newest_flow(next.to);
    const std::int64_t newest_more = state.newest_flow(next.to) / left;
    for (const std::int32_t slot : others) {
      const int host = layout.rank_of(slot);
      if (host == rank) continue;
      gain += scores_[host] - state.score_at(risks_[host] + more, state.newest(host) + newest_more);
    }
  }
  const std::int32_t expert = state.expert(next.from);
  const std::int64_t calmer = state.own_risk(expert, count) - state.own_risk(expert, count + 1);
  there += state.own_risk(expert, count + 1);
  std::int64_t sum = there;
  for (const std::int32_t slot : hosts) sum += risks_[layout.rank_of(slot)] - calmer;
  const std::int64_t taken =
      std::clamp<std::int64_t>(sum / (count + 1) - there, 0, state.weight(expert));
  for (const std::int32_t slot : hosts) {
    const int host = layout.rank_of(slot);
    gain += scores_[host] - state.score_at(risks_[host] - calmer - taken / count,
                                           state.newest(host) - taken / count);
  }
  return gain - state.score_at(there + taken, newest_there + taken);
}

bool hedge_search::are_single(const hedge_state& state, std::int32_t from, std::int32_t to) {
  return state.slots_of(state.expert(from)).size() == 1 &&
         state.slots_of(state.expert(to)).size() == 1;
}

/// Whether a change could be better than the best: what it gains at most, with no risk left on the
/// ranks concerned, or, where loads do not divide, no variance.
bool hedge_search::may_win(const hedge_state& state, std::int32_t from, std::int32_t to, bool swaps,
                           int more, const candidate& best) const {
  const slot_layout& layout = state.layout();
  const int home = layout.rank_of(from);
  const int rank = layout.rank_of(to);
  hedge_state::score_type most = scores_[home] + scores_[rank];
  if (swaps && even_ && are_single(state, from, to)) {
    const std::int64_t goes = state.weight(state.expert(from)) - state.weight(state.expert(to));
    most -= state.score_at(state.load(home) - goes, 0) + state.score_at(state.load(rank) + goes, 0);
  }
  for (const std::int32_t slot : {from, to}) {
    if (state.expert(slot) == no_expert) continue;
    for (const std::int32_t other : state.slots_of(state.expert(slot))) {
      const int host = layout.rank_of(other);
      if (host != home && host != rank) most += scores_[host];
    }
  }
  return worth(most, more) > best.value;
}

/// After the price of what has to be received.
hedge_state::score_type hedge_search::worth(hedge_state::score_type gain, int more) {
  gain -= price * std::max(more, 0);
  return gain * (more > 0 ? free_value / more : free_value * free_value);  // more is 2 at most
}

void hedge_search::apply(hedge_state& state, const candidate& next) {
  if (next.swaps) {
    state.swap(next.from, next.to);
  } else {
    state.replace(next.from, next.to);
  }
}

}  // namespace ballast
