#include "policies/flow_ledger.hpp"

#include <algorithm>
#include <functional>

#include "policies/limits.hpp"

namespace ballast {

flow_ledger::flow_ledger(const cluster_map& cluster, std::span<const std::int32_t> usable_slots)
    : cluster_(cluster), usable_(usable_slots) {
  for (const std::int64_t cost : cluster.cost_ns_per_mib) dearest_ = std::max(dearest_, cost);
}

void flow_ledger::open(const flow_state& state, std::span<const std::int32_t> origin,
                       const flow_purse& purse) {
  layout_ = &state.layout();
  origin_ = origin;
  purse_ = purse;
  hosts_before_.resize(static_cast<std::size_t>(state.experts_count()));
  for (auto& hosts : hosts_before_) hosts.clear();
  for (std::int32_t slot = 0; slot < layout_->slots(); ++slot) {
    if (origin_[slot] != no_expert) hosts_before_[origin_[slot]].push_back(layout_->rank_of(slot));
  }
  count(state);
}

void flow_ledger::count(const flow_state& state) {
  const slot_layout& layout = *layout_;
  moves_ = 0;
  rank_moves_.assign(static_cast<std::size_t>(layout.ranks()) + link_class_count, 0);
  occupied_.assign(static_cast<std::size_t>(layout.ranks()), 0);
  for (int rank = 0; rank < layout.ranks(); ++rank) {
    for (std::int32_t slot = layout.first(rank); slot < layout.first(rank + 1); ++slot) {
      if (state.expert(slot) == no_expert) continue;
      ++occupied_[rank];
      if (state.expert(slot) == origin_[slot] || was_on(rank, state.expert(slot))) continue;
      ++rank_moves_[rank];
      if (!purse_.rank_left.empty()) ++rank_moves_[link_index(state.expert(slot), rank)];
    }
    moves_ += rank_moves_[rank];
  }
}

void flow_ledger::note(const flow_state& state, const flow_change& next, int times) {
  note_arrival(state, state.expert(next.from), next.to, times);
  if (next.swaps) note_arrival(state, state.expert(next.to), next.from, times);
}

void flow_ledger::note_arrival(const flow_state& state, std::int32_t expert, std::int32_t slot,
                               int times) {
  const int rank = layout_->rank_of(slot);
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

bool flow_ledger::was_on(int rank, std::int32_t expert) const {
  const slot_layout& layout = *layout_;
  for (std::int32_t slot = layout.first(rank); slot < layout.first(rank + 1); ++slot) {
    if (origin_[slot] == expert) return true;
  }
  return false;
}

bool flow_ledger::allows(const flow_state& state, const flow_change& next) const {
  const bool plenty = purse_.moves < 0 || purse_.moves - moves_ >= (next.swaps ? 2 : 1);
  if (plenty && purse_.rank_left.empty()) return true;
  const int there = arrivals(state, state.expert(next.from), next.to);
  const int back = next.swaps ? arrivals(state, state.expert(next.to), next.from) : 0;
  if (purse_.moves >= 0 && there + back > 0 && moves_ + there + back > purse_.moves) return false;
  if (purse_.rank_left.empty()) return true;
  const int to = layout_->rank_of(next.to);
  const int from = layout_->rank_of(next.from);
  if (!fits(there, static_cast<std::size_t>(to)) || !fits(back, static_cast<std::size_t>(from))) {
    return false;
  }
  link_changes links{};
  add_links(state, state.expert(next.from), next.to, links);
  if (next.swaps) add_links(state, state.expert(next.to), next.from, links);
  return links_fit(links);
}

bool flow_ledger::allows(const flow_state& state, std::span<const assignment> chain) const {
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
  return purse_.moves < 0 || moves <= 0 || moves_ + moves <= purse_.moves;
}

bool flow_ledger::affordable(std::span<const std::int32_t> experts) const {
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

/// By how much the experts that a rank has to receive change.
int flow_ledger::arrivals(const flow_state& state, std::int32_t expert, std::int32_t slot) const {
  const int rank = layout_->rank_of(slot);
  const std::int32_t leaving = state.expert(slot);
  return (was_on(rank, expert) ? 0 : 1) - (leaving == no_expert || was_on(rank, leaving) ? 0 : 1);
}

/// By how much the arrivals over links of each class change.
void flow_ledger::add_links(const flow_state& state, std::int32_t expert, std::int32_t slot,
                            link_changes& links) const {
  const int rank = layout_->rank_of(slot);
  const std::int32_t leaving = state.expert(slot);
  const std::size_t ranks = occupied_.size();
  if (!was_on(rank, expert)) ++links[link_index(expert, rank) - ranks];
  if (leaving != no_expert && !was_on(rank, leaving)) --links[link_index(leaving, rank) - ranks];
}

bool flow_ledger::links_fit(const link_changes& links) const {
  const std::size_t ranks = occupied_.size();
  for (std::size_t link = 0; link < links.size(); ++link) {
    if (!fits(links[link], ranks + link)) return false;
  }
  return true;
}

/// Where rank_left counts the link over which the rank gets the expert.
std::size_t flow_ledger::link_index(std::int32_t expert, int rank) const {
  return occupied_.size() +
         static_cast<std::size_t>(nearest_link(cluster_, hosts_before_[expert], rank));
}

std::int64_t flow_ledger::price(const flow_state& state, const flow_change& next) const {
  const int to = layout_->rank_of(next.to);
  const int from = layout_->rank_of(next.from);
  std::int64_t sum = arrivals(state, state.expert(next.from), next.to) * price_one;
  sum += link_price(state.expert(next.from), to);
  if (next.swaps) {
    sum += arrivals(state, state.expert(next.to), next.from) * price_one;
    sum += link_price(state.expert(next.to), from);
  }
  return std::max<std::int64_t>(sum, price_one / 4);
}

/// Up to an eighth of a move's price, for the nearest rank that holds the expert.
std::int64_t flow_ledger::link_price(std::int32_t expert, int rank) const {
  std::int64_t cheapest = dearest_;
  for (const std::int32_t source : hosts_before_[expert]) {
    cheapest = std::min(cheapest, link_cost(source, rank));
  }
  return was_on(rank, expert) ? 0 : cheapest * (price_one / 8) / dearest_;
}

std::int64_t flow_ledger::link_cost(int from, int to) const {
  const rank_place& here = cluster_.ranks[from];
  const rank_place& there = cluster_.ranks[to];
  const link_class link = here.island == there.island ? link_class::island
                          : here.node == there.node   ? link_class::node
                                                      : link_class::remote;
  return cluster_.cost_ns_per_mib[static_cast<std::size_t>(link)];
}

}  // namespace ballast
