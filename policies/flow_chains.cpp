#include "policies/flow_chains.hpp"

#include <algorithm>

namespace ballast {

namespace {

constexpr std::size_t leavers_most = 8;

}  // namespace

std::span<const assignment> chain_finder::find(const flow_state& state, const group_homes& homes,
                                               const chain_task& task) {
  chain_.clear();
  list_entries(state, task);
  list_sources(state, task);
  all_entries_ = entries_;
  search(state, homes, task);
  // What may come back depends on who has left, so each leaver has a search of its own.
  for (const node& leaver : leavers_) {
    entries_ = all_entries_;
    nodes_.assign(1, leaver);
    search(state, homes, task);
  }
  return chain_;
}

/// Breadth first from the nodes that there are; keeps the chain if it is shorter than the last.
void chain_finder::search(const flow_state& state, const group_homes& homes,
                          const chain_task& task) {
  const std::size_t most =
      chain_.empty() ? static_cast<std::size_t>(task.longest) : chain_.size() - 1;
  for (std::size_t at = 0; at < nodes_.size(); ++at) {
    if (nodes_[at].depth >= most) return;
    const auto index = static_cast<std::int32_t>(at);
    if (finish(state, homes, task, index)) return;
    if (nodes_[at].depth + std::size_t{1} < most) expand(state, homes, index);
  }
}

void chain_finder::list_entries(const flow_state& state, const chain_task& task) {
  const slot_layout& layout = state.layout();
  room_.resize(static_cast<std::size_t>(state.ranks()));
  entries_.clear();
  excess_ = 0;
  for (int rank = 0; rank < state.ranks(); ++rank) {
    room_[rank] = state.load_at(rank, task.limit) - state.load(rank);
    if (task.block_of[rank] == task.block) {
      excess_ -= room_[rank];
      continue;
    }
    for (std::int32_t slot = layout.first(rank); slot < layout.first(rank + 1); ++slot) {
      if (state.expert(slot) == no_expert) continue;
      const std::int64_t capacity = room_[rank] + state.flow(slot);
      if (capacity >= 0) entries_.push_back({capacity, slot});
    }
  }
  std::sort(entries_.begin(), entries_.end(), [](const entry& a, const entry& b) {
    return a.capacity != b.capacity ? a.capacity > b.capacity : a.slot < b.slot;
  });
}

/// The experts that can relieve the block of its excess: by handing on a part, or by leaving, the
/// lightest first.
void chain_finder::list_sources(const flow_state& state, const chain_task& task) {
  nodes_.clear();
  leavers_.clear();
  std::int32_t last = no_expert;
  for (const std::int32_t slot : task.sources) {
    const std::int32_t expert = state.expert(slot);
    const std::int64_t count = state.replicas(expert);
    if (expert != last) {
      std::int64_t within = 0;
      for (std::int32_t own = state.first_slot(expert); own >= 0; own = state.next_slot(own)) {
        if (task.block_of[state.layout().rank_of(own)] == task.block) within += state.flow(own);
      }
      const std::int64_t part = state.weight(expert) / (count + 1);
      const bool enough =
          state.equal_shares() ? state.flow(slot) - part >= excess_ : within >= excess_;
      if (enough) {
        nodes_.push_back({slot, expert, -1, state.equal_shares() ? part : excess_, 0, true});
      }
      last = expert;
    }
    if (state.flow(slot) >= excess_) {
      leavers_.push_back({slot, expert, -1, state.flow(slot), 0, false});
    }
  }
  std::sort(leavers_.begin(), leavers_.end(), [](const node& a, const node& b) {
    return a.weight != b.weight ? a.weight < b.weight : a.slot < b.slot;
  });
  if (leavers_.size() > leavers_most) leavers_.resize(leavers_most);
}

/// Whether the chain that leads to a node can end here.
bool chain_finder::finish(const flow_state& state, const group_homes& homes, const chain_task& task,
                          std::int32_t at) {
  const node& last = nodes_[at];
  for (const int rank : task.open) {
    if (task.block_of[rank] == task.block || room_[rank] < last.weight ||
        !homes.allows(rank, last.expert) || !is_free_for(state, rank, last.expert, at)) {
      continue;
    }
    for (std::int32_t slot = state.layout().first(rank);; ++slot) {
      if (state.expert(slot) == no_expert) return take(at, slot);
    }
  }
  if (last.parent < 0) return false;
  if (can_drop(state, last)) return take(at, -1);
  std::int32_t root = at;
  while (nodes_[root].parent >= 0) root = nodes_[root].parent;
  const int rank = state.layout().rank_of(nodes_[root].slot);
  if (nodes_[root].stays || last.weight > nodes_[root].weight - excess_ ||
      !homes.allows(rank, last.expert) || state.holds(rank, last.expert)) {
    return false;
  }
  return take(at, nodes_[root].slot);
}

/// Whether the expert's other hosts can take the load of the replica. Hosts of the chain are not
/// counted on.
bool chain_finder::can_drop(const flow_state& state, const node& last) const {
  const std::int64_t others = state.replicas(last.expert) - 1;
  if (others < 1) return false;
  std::int64_t room = 0;
  for (std::int32_t slot = state.first_slot(last.expert); slot >= 0; slot = state.next_slot(slot)) {
    if (slot == last.slot) continue;
    const int host = state.layout().rank_of(slot);
    std::int64_t free = std::max<std::int64_t>(room_[host], 0);
    for (std::int32_t at = last.parent; at >= 0; at = nodes_[at].parent) {
      if (state.layout().rank_of(nodes_[at].slot) == host) free = 0;
    }
    if (state.equal_shares() && free < last.weight / others) return false;
    room += free;
  }
  return room >= last.weight;
}

/// Lets the expert of a node into every slot that it can enter.
void chain_finder::expand(const flow_state& state, const group_homes& homes, std::int32_t at) {
  const std::int32_t expert = nodes_[at].expert;
  const std::int64_t weight = nodes_[at].weight;
  const auto depth = static_cast<std::uint8_t>(nodes_[at].depth + 1);
  std::size_t kept = 0;
  std::size_t i = 0;
  for (; i < entries_.size() && entries_[i].capacity >= weight; ++i) {
    const std::int32_t slot = entries_[i].slot;
    const int rank = state.layout().rank_of(slot);
    if (homes.allows(rank, expert) && is_free_for(state, rank, expert, at)) {
      const std::int32_t out = state.expert(slot);
      bool known = false;  // the chain must not take two replicas of one expert
      for (std::int32_t up = at; up >= 0; up = nodes_[up].parent) {
        known = known || nodes_[up].expert == out;
      }
      if (!known) {
        nodes_.push_back({slot, out, at, state.flow(slot), depth, false});
        continue;
      }
    }
    entries_[kept++] = entries_[i];
  }
  entries_.erase(entries_.begin() + static_cast<std::ptrdiff_t>(kept),
                 entries_.begin() + static_cast<std::ptrdiff_t>(i));
}

/// Whether a rank neither holds the expert nor takes part in the chain that leads to a node.
bool chain_finder::is_free_for(const flow_state& state, int rank, std::int32_t expert,
                               std::int32_t at) const {
  for (std::int32_t up = at; up >= 0; up = nodes_[up].parent) {
    if (state.layout().rank_of(nodes_[up].slot) == rank) return false;
  }
  return !state.holds(rank, expert);
}

/// Writes the chain down: every node's expert takes the slot of the one after it, the last takes
/// `slot` or, if that is -1, none. The slot of a source that leaves is emptied unless it is taken.
bool chain_finder::take(std::int32_t at, std::int32_t slot) {
  chain_.clear();
  std::int32_t root = at;
  for (std::int32_t to = slot; root >= 0; to = nodes_[root].slot, root = nodes_[root].parent) {
    if (to >= 0) chain_.push_back({to, nodes_[root].expert});
    if (nodes_[root].parent < 0 && !nodes_[root].stays && nodes_[root].slot != slot) {
      chain_.push_back({nodes_[root].slot, no_expert});
    }
  }
  std::reverse(chain_.begin(), chain_.end());
  return true;
}

}  // namespace ballast
