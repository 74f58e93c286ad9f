#include "policies/flow_search.hpp"

#include <algorithm>

#include "policies/limits.hpp"

namespace ballast {

namespace {

// Candidates whose effect is computed although one is found to help.
constexpr std::size_t tries = 8;
constexpr int large_ranks = 256;
constexpr std::size_t few_candidates = 16;
constexpr std::size_t many_candidates = 192;
constexpr std::size_t kicks = 12;
constexpr int revisions_most = 4;  // moves taken back, of one layer
constexpr int chain_slots = 4096;  // of layers that chains are searched for at most
constexpr int follow_ups = 4;
constexpr std::int64_t escape_parts = 1000;  // not worth the time for less above the target
constexpr std::int64_t price_one = 64;
constexpr std::int64_t steps_least = 256;
constexpr std::int64_t steps_per_rank = 4;

}  // namespace

flow_search::flow_search(const cluster_map& cluster, std::span<const std::int32_t> usable_slots)
    : cluster_(cluster), usable_(usable_slots) {
  for (const std::int64_t cost : cluster.cost_ns_per_mib) dearest_ = std::max(dearest_, cost);
}

std::int64_t flow_search::improve(flow_state& state, std::span<const std::int32_t> origin,
                                  const group_homes& homes, const flow_purse& purse,
                                  std::int64_t target) {
  layout_ = &state.layout();
  origin_ = origin;
  homes_ = &homes;
  purse_ = purse;
  target_ = target;
  revisions_ = revisions_most;
  mean_speed_ = state.uneven() ? 16 : 1;
  list_hosts(static_cast<std::size_t>(state.experts_count()));
  count_arrivals(state);
  std::int64_t fullest = state.fullest();
  saved_.assign(state.experts().begin(), state.experts().end());
  // Every step lowers the score; the limit is for inputs where that would take very many.
  std::int64_t steps = steps_least + steps_per_rank * state.ranks();
  while (fullest > target_ && steps-- > 0 && (step(state) || take_chain(state) || escape(state))) {
    const std::int64_t now = state.fullest();
    if (now < fullest) {
      fullest = now;
      saved_.assign(state.experts().begin(), state.experts().end());
    }
  }
  while (purse_.moves >= 0 && fullest > target_ && state.fullest() == fullest && revise(state)) {
    fullest = state.fullest();
    saved_.assign(state.experts().begin(), state.experts().end());
  }
  return fullest;
}

/// When the moves are spent: takes one back, first of those that carry least, and looks for a
/// better one in its place.
bool flow_search::revise(flow_state& state) {
  revisable_.clear();
  for (std::int32_t slot = 0; slot < layout_->slots(); ++slot) {
    const std::int32_t arrived = state.expert(slot);
    const std::int32_t left = origin_[slot];
    if (arrived == left || arrived == no_expert || left == no_expert) continue;
    const int rank = layout_->rank_of(slot);
    if (state.replicas(arrived) > 1 && !was_on(rank, arrived) && !state.holds(rank, left) &&
        homes_->allows(rank, left)) {
      revisable_.push_back({state.flow(slot), slot});
    }
  }
  std::sort(revisable_.begin(), revisable_.end());
  const std::int64_t fullest = state.fullest();
  before_ = state;
  for (const auto& [flow, slot] : revisable_) {
    if (revisions_ == 0) return false;
    --revisions_;
    state.replace(slot, origin_[slot]);
    state.settle();
    count_arrivals(state);
    if (step(state) && state.fullest() < fullest) return true;
    state = before_;
    count_arrivals(state);
  }
  return false;
}

bool flow_search::affordable(std::span<const std::int32_t> experts) const {
  std::int64_t moves = 0;
  std::vector<std::int64_t> spent(purse_.rank_left.size(), 0);
  for (std::int32_t slot = 0; slot < layout_->slots(); ++slot) {
    const int rank = layout_->rank_of(slot);
    if (experts[slot] == no_expert || was_on(rank, experts[slot])) continue;
    ++moves;
    if (spent.empty()) continue;
    ++spent[rank];
    ++spent[link_index(experts[slot], rank)];
  }
  return (purse_.moves < 0 || moves <= purse_.moves) &&
         std::ranges::equal(spent, purse_.rank_left, std::ranges::less_equal());
}

void flow_search::list_hosts(std::size_t experts) {
  hosts_before_.resize(experts);
  for (auto& hosts : hosts_before_) hosts.clear();
  for (std::int32_t slot = 0; slot < layout_->slots(); ++slot) {
    if (origin_[slot] != no_expert) hosts_before_[origin_[slot]].push_back(layout_->rank_of(slot));
  }
}

void flow_search::count_arrivals(const flow_state& state) {
  const slot_layout& layout = state.layout();
  moves_ = 0;
  rank_moves_.assign(static_cast<std::size_t>(layout.ranks()) + link_class_count, 0);
  occupied_.assign(static_cast<std::size_t>(layout.ranks()), 0);
  for (int rank = 0; rank < layout.ranks(); ++rank) {
    for (std::int32_t slot = layout.first(rank); slot < layout.first(rank + 1); ++slot) {
      if (state.expert(slot) == no_expert) continue;
      ++occupied_[rank];
      if (was_on(rank, state.expert(slot))) continue;
      ++rank_moves_[rank];
      if (!purse_.rank_left.empty()) ++rank_moves_[link_index(state.expert(slot), rank)];
    }
    moves_ += rank_moves_[rank];
  }
}

bool flow_search::was_on(int rank, std::int32_t expert) const {
  const slot_layout& layout = *layout_;
  for (std::int32_t slot = layout.first(rank); slot < layout.first(rank + 1); ++slot) {
    if (origin_[slot] == expert) return true;
  }
  return false;
}

/// One move or swap, if any helps: of the few that promise most, or else of many.
bool flow_search::step(flow_state& state) {
  label_blocks(state);
  list_sources(state);
  list_targets(state);
  losing_.clear();
  for (const std::size_t limit : {few_candidates, many_candidates}) {
    limit_ = limit;
    best_.clear();
    estimate_replacements(state);
    estimate_swaps(state);
    const std::size_t first = limit == few_candidates ? 0 : few_candidates;
    if (state.ranks() > large_ranks ? take_first(state, first) : take_best(state, first)) {
      return true;
    }
    if (best_.size() < limit) return false;
  }
  return false;
}

void flow_search::carry_out(flow_state& state, const candidate& next) {
  note(state, next, 1);
  apply(state, next);
  state.settle();
}

/// Counts what arrives with a change that is not made yet; `times` -1 takes it back.
void flow_search::note(const flow_state& state, const candidate& next, int times) {
  note_arrival(state, state.expert(next.from), next.to, times);
  if (next.swaps) note_arrival(state, state.expert(next.to), next.from, times);
}

void flow_search::note_arrival(const flow_state& state, std::int32_t expert, std::int32_t slot,
                               int times) {
  const int rank = state.layout().rank_of(slot);
  const int more = arrivals(state, expert, slot) * times;
  moves_ += more;
  rank_moves_[rank] += more;
  occupied_[rank] += state.expert(slot) == no_expert ? times : 0;
  if (purse_.rank_left.empty()) return;
  link_changes links{};
  add_links(state, expert, slot, links);
  for (std::size_t link = 0; link < links.size(); ++link) {
    rank_moves_[occupied_.size() + link] += links[link] * times;
  }
}

/// Makes the first of the candidates from the `first` on that helps. Where ranks are so many that a
/// step matters little, that is worth more than choosing well.
bool flow_search::take_first(flow_state& state, std::size_t first) {
  const score_type before = state.score();
  for (std::size_t i = first; i < best_.size(); ++i) {
    note(state, best_[i], 1);
    state.begin_trial();
    apply(state, best_[i]);
    state.settle();
    const score_type gain = before - state.score();
    if (gain > 0) {
      state.keep();
      return true;
    }
    state.roll_back();
    note(state, best_[i], -1);
    losing_.push_back({gain, best_[i]});
  }
  return false;
}

/// Makes the best of the candidates from the `first` on, by what they really bring, if any helps.
bool flow_search::take_best(flow_state& state, std::size_t first) {
  const score_type before = state.score();
  // With one move left, only the fullest rank counts.
  const bool final_move = purse_.moves >= 0 && purse_.moves - moves_ <= 2;
  const std::int64_t fullest = state.fullest();
  score_type most = 0;
  const candidate* chosen = nullptr;
  std::size_t tried = 0;
  for (std::size_t i = first; i < best_.size(); ++i) {
    const candidate& next = best_[i];
    if ((!final_move && most >= next.value) || (most > 0 && ++tried > tries)) break;
    state.begin_trial();
    apply(state, next);
    state.settle();
    const score_type gain = before - state.score();
    const std::int64_t lower = final_move ? fullest - state.fullest() : 0;
    state.roll_back();
    if (gain <= 0 || lower < 0) {
      losing_.push_back({gain, next});
      continue;
    }
    score_type value = gain * price_one / price(state, next);
    if (final_move) value += static_cast<score_type>(lower) << 64;
    if (value > most) {
      most = value;
      chosen = &next;
    }
  }
  if (chosen != nullptr) carry_out(state, *chosen);
  return chosen != nullptr;
}

/// Where no single step helps: a chain that brings the fullest block down all the way to the
/// target, or else a part of it. Looks at the block as the last step left it.
bool flow_search::take_chain(flow_state& state) {
  if (state.slots() > chain_slots || (purse_.moves >= 0 && moves_ >= purse_.moves)) return false;
  open_.clear();
  for (int rank = 0; rank < state.ranks(); ++rank) {
    if (occupied_[rank] < usable_[rank]) open_.push_back(rank);
  }
  chain_task task{block_of_, top_, sources_, open_};
  const std::int64_t top = state.fullest();
  for (const std::int64_t part : {1, 4, 16, 64, 256}) {
    task.limit = top - (top - target_) / part;
    if (task.limit < top && make_chain(state, chains_.find(state, *homes_, task))) return true;
  }
  return false;
}

/// Makes the chain if it is within the purse and helps.
bool flow_search::make_chain(flow_state& state, std::span<const assignment> chain) {
  if (chain.empty()) return false;
  std::int64_t moves = 0;
  link_changes links{};
  for (const assignment& next : chain) {
    if (next.expert == no_expert) continue;
    const int more = arrivals(state, next.expert, next.slot);
    moves += more;
    if (purse_.rank_left.empty()) continue;
    if (!fits(more, static_cast<std::size_t>(layout_->rank_of(next.slot)))) return false;
    add_links(state, next.expert, next.slot, links);
  }
  if (!purse_.rank_left.empty() && !links_fit(links)) return false;
  if (purse_.moves >= 0 && moves > 0 && moves_ + moves > purse_.moves) return false;
  const score_type before = state.score();
  before_ = state;
  for (const assignment& next : chain) state.replace(next.slot, next.expert);
  state.settle();
  if (state.score() < before) {
    count_arrivals(state);
    return true;
  }
  state = before_;
  return false;
}

/// Where no single step helps: makes one that costs least and sees whether the steps after it make
/// up for it.
bool flow_search::escape(flow_state& state) {
  std::stable_sort(losing_.begin(), losing_.end(),
                   [](const outcome& a, const outcome& b) { return a.gain > b.gain; });
  if (losing_.size() > kicks) losing_.resize(kicks);
  const std::vector<outcome> kicked = losing_;
  const score_type before = state.score();
  if (purse_.moves >= 0 && purse_.moves - moves_ < 2) return false;
  if (state.fullest() <= target_ + target_ / escape_parts) return false;
  before_ = state;
  for (const outcome& first : kicked) {
    carry_out(state, first.change);
    for (int depth = 0; depth < follow_ups && step(state); ++depth) {
      if (state.score() < before) return true;
    }
    state = before_;
    count_arrivals(state);
  }
  return false;
}

/// Keeps the candidate if it is among the best and affordable.
void flow_search::offer(const flow_state& state, const candidate& next) {
  if (best_.size() == limit_ && next.value <= best_.back().value) return;
  // One of several that differ only in the replica that leaves, or in which of two equal experts.
  const int rank = state.layout().rank_of(next.to);
  for (const candidate& held : best_) {
    if (held.value == next.value && held.swaps == next.swaps && held.from == next.from &&
        state.layout().rank_of(held.to) == rank) {
      return;
    }
  }
  if (!within_purse(state, next)) return;
  if (best_.size() == limit_) best_.pop_back();
  const auto at = std::find_if(best_.begin(), best_.end(),
                               [&](const candidate& held) { return held.value < next.value; });
  best_.insert(at, next);
}

/// By how much the experts that a rank has to receive change.
int flow_search::arrivals(const flow_state& state, std::int32_t expert, std::int32_t slot) const {
  const int rank = state.layout().rank_of(slot);
  const std::int32_t leaving = state.expert(slot);
  return (was_on(rank, expert) ? 0 : 1) - (leaving == no_expert || was_on(rank, leaving) ? 0 : 1);
}

bool flow_search::within_purse(const flow_state& state, const candidate& next) const {
  const int there = arrivals(state, state.expert(next.from), next.to);
  const int back = next.swaps ? arrivals(state, state.expert(next.to), next.from) : 0;
  if (purse_.moves >= 0 && there + back > 0 && moves_ + there + back > purse_.moves) return false;
  if (purse_.rank_left.empty()) return true;
  const int to = state.layout().rank_of(next.to);
  const int from = state.layout().rank_of(next.from);
  if (!fits(there, static_cast<std::size_t>(to)) || !fits(back, static_cast<std::size_t>(from))) {
    return false;
  }
  link_changes links{};
  add_links(state, state.expert(next.from), next.to, links);
  if (next.swaps) add_links(state, state.expert(next.to), next.from, links);
  return links_fit(links);
}

/// By how much the arrivals over links of each class change.
void flow_search::add_links(const flow_state& state, std::int32_t expert, std::int32_t slot,
                            link_changes& links) const {
  const int rank = state.layout().rank_of(slot);
  const std::int32_t leaving = state.expert(slot);
  const auto ranks = static_cast<std::size_t>(state.ranks());
  if (!was_on(rank, expert)) ++links[link_index(expert, rank) - ranks];
  if (leaving != no_expert && !was_on(rank, leaving)) --links[link_index(leaving, rank) - ranks];
}

bool flow_search::links_fit(const link_changes& links) const {
  const std::size_t ranks = occupied_.size();
  for (std::size_t link = 0; link < links.size(); ++link) {
    if (!fits(links[link], ranks + link)) return false;
  }
  return true;
}

/// Where rank_left counts the link over which the rank gets the expert.
std::size_t flow_search::link_index(std::int32_t expert, int rank) const {
  return occupied_.size() +
         static_cast<std::size_t>(nearest_link(cluster_, hosts_before_[expert], rank));
}

/// Of all that arrives; what takes back earlier arrivals costs little.
std::int64_t flow_search::price(const flow_state& state, const candidate& next) const {
  const int to = state.layout().rank_of(next.to);
  const int from = state.layout().rank_of(next.from);
  std::int64_t sum = arrivals(state, state.expert(next.from), next.to) * price_one;
  sum += link_price(state.expert(next.from), to);
  if (next.swaps) {
    sum += arrivals(state, state.expert(next.to), next.from) * price_one;
    sum += link_price(state.expert(next.to), from);
  }
  return std::max<std::int64_t>(sum, price_one / 4);
}

/// Up to an eighth of a move's price, for the nearest rank that holds the expert.
std::int64_t flow_search::link_price(std::int32_t expert, int rank) const {
  std::int64_t cheapest = dearest_;
  for (const std::int32_t source : hosts_before_[expert]) {
    cheapest = std::min(cheapest, link_cost(source, rank));
  }
  return was_on(rank, expert) ? 0 : cheapest * (price_one / 8) / dearest_;
}

std::int64_t flow_search::link_cost(int from, int to) const {
  const rank_place& here = cluster_.ranks[from];
  const rank_place& there = cluster_.ranks[to];
  const link_class link = here.island == there.island ? link_class::island
                          : here.node == there.node   ? link_class::node
                                                      : link_class::remote;
  return cluster_.cost_ns_per_mib[static_cast<std::size_t>(link)];
}

void flow_search::apply(flow_state& state, const candidate& next) {
  if (next.swaps) {
    state.swap(next.from, next.to);
  } else {
    state.replace(next.to, state.expert(next.from));
  }
}

}  // namespace ballast
