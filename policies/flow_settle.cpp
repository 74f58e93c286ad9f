// How a flow_state is brought back to the evenest split: an active-set method. The replicas that
// carry load connect ranks into blocks; the load of a block's ranks is made equal by shifting along
// a spanning tree, as far as no replica runs empty; one that does is dropped, which may part the
// block. When all blocks are even, an idle replica that leads from a fuller to an emptier block is
// let carry, which joins them. Every step lowers the sum of squares, so it ends.

#include <algorithm>

#include "policies/flow_state.hpp"

namespace ballast {

namespace {

// Trees made even at most, in settling; far more than it takes.
constexpr std::size_t work_least = 64;
constexpr std::size_t work_per_rank = 4;
// A part of the way to an even tree is counted in 2^-40.
constexpr int part_bits = 40;

}  // namespace

void flow_state::settle() {
  if (rules_.equal_shares) {
    for (const int rank : touched_) is_touched_[rank] = 0;
    touched_.clear();
    return;
  }
  std::size_t work = work_least + work_per_rank * touched_.size();
  while (work > 0) {
    std::uint32_t first_clean =
        0;  // trees from this on were found complete, and nothing has changed
    // First every block by itself, so that load then flows only from a fuller block to an emptier.
    while (!touched_.empty() && work > 0) {
      const int root = touched_.back();
      touched_.pop_back();
      if (!is_touched_[root]) continue;
      do {
        --work;
        grow_tree(root);
      } while (!level_tree() && work > 0);
      for (const tree_node& node : tree()) {
        is_touched_[node.rank] = 0;
        note_changed(node.rank);
      }
      // The last block's tree is still at hand.
      const bool last = touched_.empty();
      first_clean = tree_number_ + (last ? 0 : 1);
      if (!last || extend_block()) unchecked_.push_back(root);
    }
    if (first_clean == 0) first_clean = tree_number_ + 1;
    while (!unchecked_.empty() && touched_.empty()) {
      if (seen_rank_[unchecked_.back()] >= first_clean) {
        unchecked_.pop_back();
        continue;
      }
      grow_tree(unchecked_.back());
      if (!extend_block()) unchecked_.pop_back();
    }
    if (touched_.empty()) break;
  }
  for (const int rank : touched_) {
    is_touched_[rank] = 0;
    note_changed(rank);
  }
  touched_.clear();
  unchecked_.clear();
}

// The walks below and in flow_blocks.cpp are where planning spends its time; pointers of their own
// keep the compiler from loading members again after every store.

/// Breadth first over the ranks that are connected by replicas that carry load.
void flow_state::grow_tree(int root) {
  const std::uint32_t number = ++tree_number_;
  tree_node* const tree = nodes_.data();
  std::uint32_t* const seen_rank = seen_rank_.data();
  std::uint32_t* const seen_expert = seen_expert_.data();
  const std::int32_t* const expert_of = expert_.data();
  const replica_link* const links = links_.data();
  const std::int32_t* const head = head_.data();
  const slot_bits::view active = now_.active.all();
  std::int32_t known = 1;
  tree[0] = {root, -1, -1, -1, 0};
  seen_rank[root] = number;
  seen_rank[layout_->ranks()] = number;  // so that what is idle leads nowhere
  for (std::int32_t i = 0; i < known; ++i) {
    const int rank = tree[i].rank;
    active.for_each_of(rank, [&](std::int32_t slot) {
      const std::int32_t expert = expert_of[slot];
      if (seen_expert[expert] == number) return;
      seen_expert[expert] = number;
      for (std::int32_t other = head[expert]; other >= 0; other = links[other].next) {
        const int reached = links[other].reach;
        if (seen_rank[reached] != number) [[unlikely]] {
          seen_rank[reached] = number;
          tree[known++] = {reached, i, other, slot, 0};
        }
      }
    });
  }
  tree_size_ = static_cast<std::size_t>(known);
}

/// Brings all ranks of the tree to the same level by shifting along its edges. Where that would
/// take more from replicas than they have, goes only as far as the first of them is empty, drops
/// that one and returns false.
bool flow_state::level_tree() {
  const std::span<tree_node> tree = this->tree();
  if (tree.size() == 1) return true;
  const std::int64_t* const load = now_.load.data();
  std::int64_t sum = 0;
  for (const tree_node& node : tree) sum += load[node.rank];
  const auto gather_needs = [&](auto&& fair) {
    for (std::size_t i = tree.size() - 1; i > 0; --i) {
      tree[i].need += fair(tree[i].rank) - load[tree[i].rank];
      tree[tree[i].parent].need += tree[i].need;
    }
  };
  if (uneven_) {
    std::int64_t speeds = 0;
    for (const tree_node& node : tree) speeds += speed(node.rank);
    gather_needs([&](int rank) {
      return static_cast<std::int64_t>(static_cast<score_type>(sum) * speed(rank) / speeds);
    });
  } else {
    const std::int64_t each = sum / static_cast<std::int64_t>(tree.size());
    gather_needs([each](int) { return each; });
  }
  list_transfers();
  if (const transfer* const limiting = first_to_empty()) {
    go_part(*limiting);
    return false;
  }
  for (const transfer& change : transfers()) {
    carry_out(change);
    if (now_.flow[change.slot] > 0) continue;
    set_active(change.slot, false);  // which may part the block
    unchecked_.push_back(tree[change.node].rank);
    unchecked_.push_back(tree[tree[change.node].parent].rank);
  }
  return true;
}

/// Goes only as far as the limiting replica is empty, and drops those that are.
void flow_state::go_part(const transfer& limiting) {
  const std::int32_t dropped = limiting.slot;
  const auto part = static_cast<std::int64_t>(
      (static_cast<score_type>(now_.flow[dropped]) << part_bits) / -limiting.amount);
  if (part > 0) {
    for (tree_node& node : tree())
      node.need = static_cast<std::int64_t>(node.need * static_cast<score_type>(part) >> part_bits);
    list_transfers();
    if (first_to_empty() == nullptr) {
      for (const transfer& change : transfers()) carry_out(change);
    }
  }
  drop(dropped);
  for (const transfer& change : transfers()) {
    if (now_.flow[change.slot] == 0 && carries(change.slot)) drop(change.slot);
  }
}

/// Changes of flow that give every node, with all below it, what it needs: to its own replica, and
/// from its parent's, whose children through one replica follow each other.
void flow_state::list_transfers() {
  const std::span<const tree_node> tree = this->tree();
  transfer* const listed = transfers_.data();
  std::int32_t known = 0;
  std::int32_t via_slot = -1;
  std::int32_t via = -1;
  for (std::size_t i = 1; i < tree.size(); ++i) {
    const tree_node& node = tree[i];
    listed[known++] = {node.need, node.up_slot, static_cast<std::int32_t>(i)};
    if (node.via_slot != via_slot) {
      via_slot = node.via_slot;
      via = known++;
      listed[via] = {0, via_slot, static_cast<std::int32_t>(i)};
    }
    listed[via].amount -= node.need;
  }
  transfer_count_ = static_cast<std::size_t>(known);
}

/// The transfer that takes more than its replica has and would empty it before any other; null if
/// all have enough.
const flow_state::transfer* flow_state::first_to_empty() const {
  const transfer* first = nullptr;
  const std::int64_t* const flow = now_.flow.data();
  for (const transfer& next : transfers()) {
    if (flow[next.slot] + next.amount >= 0) [[likely]]
      continue;
    if (first == nullptr || empties_before(next, *first)) first = &next;
  }
  return first;
}

bool flow_state::empties_before(const transfer& a, const transfer& b) const {
  const score_type left = static_cast<score_type>(now_.flow[a.slot]) * -b.amount;
  const score_type right = static_cast<score_type>(now_.flow[b.slot]) * -a.amount;
  return left != right ? left < right : a.slot < b.slot;
}

void flow_state::carry_out(const transfer& change) {
  now_.flow[change.slot] += change.amount;
  now_.load[layout_->rank_of(change.slot)] += change.amount;
}

/// Lets a replica carry nothing, its load going to the expert's emptiest other active host.
void flow_state::drop(std::int32_t slot) {
  std::int32_t best = -1;
  for (std::int32_t other = head_[expert_[slot]]; other >= 0; other = links_[other].next) {
    if (other == slot || !carries(other)) continue;
    if (best < 0 || level(layout_->rank_of(other)) < level(layout_->rank_of(best))) best = other;
  }
  if (now_.flow[slot] > 0) shift(slot, best, now_.flow[slot]);
  set_active(slot, false);
  mark(layout_->rank_of(best));
  mark(layout_->rank_of(slot));
}

/// When all blocks are even, lets the idle replica carry that joins the tree to the
/// rank whose level differs most in the direction that helps.
bool flow_state::extend_block() {
  const std::int64_t own = level(nodes_[0].rank);
  const std::int32_t* const expert_of = expert_.data();
  const replica_link* const links = links_.data();
  const std::int32_t* const head = head_.data();
  const std::int32_t* const count = count_.data();
  const std::int32_t* const active_count = active_count_.data();
  const std::int32_t idle = ranks();
  const slot_bits::view several = several_.all();
  const slot_layout& layout = *layout_;
  std::int64_t most = tolerance_;
  std::int32_t best = -1;
  for (const tree_node& node : tree()) {
    several.for_each_of(node.rank, [&](std::int32_t slot) {
      const std::int32_t expert = expert_of[slot];
      if (active_count[expert] == count[expert] || weight_[expert] == 0) return;
      const bool active = links[slot].reach < idle;
      for (std::int32_t other = head[expert]; other >= 0; other = links[other].next) {
        if ((links[other].reach < idle) == active) continue;
        const std::int64_t gap = (own - level(layout.rank_of(other))) * (active ? 1 : -1);
        if (gap > most) {
          most = gap;
          best = active ? other : slot;
        }
      }
    });
  }
  if (best < 0) return false;
  set_active(best, true);
  mark(layout_->rank_of(best));
  return true;
}

}  // namespace ballast
