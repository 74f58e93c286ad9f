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
    // First every block by itself, so that load then flows only from a fuller block to an emptier.
    while (!touched_.empty() && work > 0) {
      const int root = touched_.back();
      touched_.pop_back();
      if (!is_touched_[root]) continue;
      do {
        --work;
        grow_tree(root);
      } while (!level_tree() && work > 0);
      for (const tree_node& node : tree_) is_touched_[node.rank] = 0;
      // The last block's tree is still at hand.
      if (!touched_.empty() || extend_block()) unchecked_.push_back(root);
    }
    while (!unchecked_.empty() && touched_.empty()) {
      grow_tree(unchecked_.back());
      if (!extend_block()) unchecked_.pop_back();
    }
    if (touched_.empty()) break;
  }
  for (const int rank : touched_) is_touched_[rank] = 0;
  touched_.clear();
  unchecked_.clear();
}

/// Breadth first over the ranks that are connected by replicas that carry load.
void flow_state::grow_tree(int root) {
  ++tree_number_;
  tree_.clear();
  tree_.push_back({root, -1, -1, -1, 0});
  seen_rank_[root] = tree_number_;
  for (std::size_t i = 0; i < tree_.size(); ++i) {
    const int rank = tree_[i].rank;
    for (std::int32_t slot = layout_->first(rank); slot < layout_->first(rank + 1); ++slot) {
      if (!active_[slot]) continue;
      const std::int32_t expert = expert_[slot];
      if (seen_expert_[expert] == tree_number_) continue;
      seen_expert_[expert] = tree_number_;
      for (std::int32_t other = head_[expert]; other >= 0; other = next_[other]) {
        if (!active_[other]) continue;
        const int reached = layout_->rank_of(other);
        if (seen_rank_[reached] == tree_number_) continue;
        seen_rank_[reached] = tree_number_;
        tree_.push_back({reached, static_cast<std::int32_t>(i), other, slot, 0});
      }
    }
  }
}

/// Brings all ranks of the tree to the same level by shifting along its edges. Where that would
/// take more from replicas than they have, goes only as far as the first of them is empty, drops
/// that one and returns false.
bool flow_state::level_tree() {
  std::int64_t sum = 0;
  std::int64_t speeds = 0;
  for (const tree_node& node : tree_) {
    sum += load_[node.rank];
    speeds += speed(node.rank);
  }
  const std::int64_t each = sum / speeds;
  for (std::size_t i = tree_.size() - 1; i > 0; --i) {
    tree_node& node = tree_[i];
    const std::int64_t fair =
        uneven_
            ? static_cast<std::int64_t>(static_cast<score_type>(sum) * speed(node.rank) / speeds)
            : each;
    node.need += fair - load_[node.rank];
    tree_[node.parent].need += node.need;
  }
  sum_needs();
  std::int32_t first = -1;  // the replica that is empty first, at delta / flow of the way
  for (std::size_t i = 1; i < tree_.size(); ++i) {
    for (const std::int32_t slot : {tree_[i].up_slot, tree_[i].via_slot}) {
      if (flow_[slot] + delta_[slot] < 0 && (first < 0 || is_empty_before(slot, first)))
        first = slot;
    }
  }
  if (first < 0) {
    shift_needs();
    for (std::size_t i = 1; i < tree_.size(); ++i) {
      for (const std::int32_t slot : {tree_[i].up_slot, tree_[i].via_slot}) {
        if (!active_[slot] || flow_[slot] > 0) continue;
        set_active(slot, false);  // which may part the block
        unchecked_.push_back(tree_[i].rank);
        unchecked_.push_back(tree_[tree_[i].parent].rank);
      }
    }
    return true;
  }
  const auto part = static_cast<std::int64_t>((static_cast<score_type>(flow_[first]) << part_bits) /
                                              -delta_[first]);
  bool possible = part > 0;
  if (possible) {
    for (tree_node& node : tree_)
      node.need = static_cast<std::int64_t>(node.need * static_cast<score_type>(part) >> part_bits);
    clear_deltas();
    sum_needs();
    for (std::size_t i = 1; i < tree_.size() && possible; ++i) {
      possible = flow_[tree_[i].up_slot] + delta_[tree_[i].up_slot] >= 0 &&
                 flow_[tree_[i].via_slot] + delta_[tree_[i].via_slot] >= 0;
    }
  }
  if (possible) {
    shift_needs();
  } else {
    clear_deltas();
  }
  drop(first);
  for (std::size_t i = 1; i < tree_.size(); ++i) {
    for (const std::int32_t slot : {tree_[i].up_slot, tree_[i].via_slot}) {
      if (active_[slot] && flow_[slot] == 0) drop(slot);
    }
  }
  return false;
}

bool flow_state::is_empty_before(std::int32_t a, std::int32_t b) const {
  const score_type left = static_cast<score_type>(flow_[a]) * -delta_[b];
  const score_type right = static_cast<score_type>(flow_[b]) * -delta_[a];
  return left != right ? left < right : a < b;
}

/// Changes of flow that give every node, with all below it, what it needs.
void flow_state::sum_needs() {
  for (std::size_t i = 1; i < tree_.size(); ++i) {
    delta_[tree_[i].up_slot] += tree_[i].need;
    delta_[tree_[i].via_slot] -= tree_[i].need;
  }
}

void flow_state::clear_deltas() {
  for (std::size_t i = 1; i < tree_.size(); ++i) {
    delta_[tree_[i].up_slot] = 0;
    delta_[tree_[i].via_slot] = 0;
  }
}

/// Carries the changes out. A slot may be on several edges; its delta is their sum.
void flow_state::shift_needs() {
  for (std::size_t i = 1; i < tree_.size(); ++i) {
    for (const std::int32_t slot : {tree_[i].up_slot, tree_[i].via_slot}) {
      if (delta_[slot] == 0) continue;
      const int rank = layout_->rank_of(slot);
      set_flow(slot, flow_[slot] + delta_[slot]);
      set_load(rank, load_[rank] + delta_[slot]);
      delta_[slot] = 0;
    }
  }
}

/// Lets a replica carry nothing, its load going to the expert's emptiest other active host.
void flow_state::drop(std::int32_t slot) {
  std::int32_t best = -1;
  for (std::int32_t other = head_[expert_[slot]]; other >= 0; other = next_[other]) {
    if (other == slot || !active_[other]) continue;
    if (best < 0 || level(layout_->rank_of(other)) < level(layout_->rank_of(best))) best = other;
  }
  if (flow_[slot] > 0) shift(slot, best, flow_[slot]);
  set_active(slot, false);
  mark(layout_->rank_of(best));
  mark(layout_->rank_of(slot));
}

/// When all blocks are even, lets the idle replica carry that joins the tree to the
/// rank whose load differs most in the direction that helps.
bool flow_state::extend_block() {
  const std::int64_t own = level(tree_[0].rank);
  std::int64_t most = tolerance_;
  std::int32_t best = -1;
  for (const tree_node& node : tree_) {
    for (std::int32_t slot = layout_->first(node.rank); slot < layout_->first(node.rank + 1);
         ++slot) {
      const std::int32_t expert = expert_[slot];
      if (expert == no_expert || count_[expert] < 2 || weight_[expert] == 0) continue;
      for (std::int32_t other = head_[expert]; other >= 0; other = next_[other]) {
        if (active_[other] == active_[slot]) continue;
        const std::int64_t gap = (own - level(layout_->rank_of(other))) * (active_[slot] ? 1 : -1);
        if (gap > most) {
          most = gap;
          best = active_[slot] ? other : slot;
        }
      }
    }
  }
  if (best < 0) return false;
  set_active(best, true);
  mark(layout_->rank_of(best));
  return true;
}

}  // namespace ballast
