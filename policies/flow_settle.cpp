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
      for (const tree_node& node : tree_) is_touched_[node.rank] = 0;
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
  for (const int rank : touched_) is_touched_[rank] = 0;
  touched_.clear();
  unchecked_.clear();
}

// The walks below are where planning spends its time; pointers of their own keep the compiler from
// loading members again after every store.

int flow_state::label_blocks(std::vector<std::int32_t>& block_of) {
  block_of.assign(load_.size(), -1);
  queue_.resize(load_.size());
  ++tree_number_;
  std::int32_t* const block = block_of.data();
  std::int32_t* const queue = queue_.data();
  std::uint32_t* const seen = seen_expert_.data();
  const std::int32_t* const expert_of = expert_.data();
  const std::int32_t* const next = next_.data();
  const std::uint8_t* const active = active_.data();
  const std::int32_t* const head = head_.data();
  const slot_layout& layout = *layout_;
  std::int32_t count = 0;
  for (int root = 0; root < layout.ranks(); ++root) {
    if (block[root] >= 0) continue;
    std::size_t known = 1;
    queue[0] = root;
    block[root] = count;
    for (std::size_t i = 0; i < known; ++i) {
      const int rank = queue[i];
      const std::int32_t end = layout.first(rank + 1);
      for (std::int32_t slot = layout.first(rank); slot < end; ++slot) {
        if (!active[slot] || seen[expert_of[slot]] == tree_number_) continue;
        seen[expert_of[slot]] = tree_number_;
        for (std::int32_t other = head[expert_of[slot]]; other >= 0; other = next[other]) {
          if (!active[other]) continue;
          const int reached = layout.rank_of(other);
          if (block[reached] >= 0) continue;
          block[reached] = count;
          queue[known++] = reached;
        }
      }
    }
    ++count;
  }
  return count;
}

/// Breadth first over the ranks that are connected by replicas that carry load.
void flow_state::grow_tree(int root) {
  tree_.resize(load_.size());
  const std::uint32_t number = ++tree_number_;
  tree_node* const tree = tree_.data();
  std::uint32_t* const seen_rank = seen_rank_.data();
  std::uint32_t* const seen_expert = seen_expert_.data();
  const std::int32_t* const expert_of = expert_.data();
  const std::int32_t* const next = next_.data();
  const std::uint8_t* const active = active_.data();
  const std::int32_t* const head = head_.data();
  const slot_layout& layout = *layout_;
  std::size_t known = 1;
  tree[0] = {root, -1, -1, -1, 0};
  seen_rank[root] = number;
  for (std::size_t i = 0; i < known; ++i) {
    const int rank = tree[i].rank;
    const std::int32_t end = layout.first(rank + 1);
    for (std::int32_t slot = layout.first(rank); slot < end; ++slot) {
      if (!active[slot]) continue;
      const std::int32_t expert = expert_of[slot];
      if (seen_expert[expert] == number) continue;
      seen_expert[expert] = number;
      for (std::int32_t other = head[expert]; other >= 0; other = next[other]) {
        if (!active[other]) continue;
        const int reached = layout.rank_of(other);
        if (seen_rank[reached] == number) continue;
        seen_rank[reached] = number;
        tree[known++] = {reached, static_cast<std::int32_t>(i), other, slot, 0};
      }
    }
  }
  tree_.resize(known);
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
/// rank whose level differs most in the direction that helps.
bool flow_state::extend_block() {
  const std::int64_t own = level(tree_[0].rank);
  const std::int32_t* const expert_of = expert_.data();
  const std::int32_t* const next = next_.data();
  const std::uint8_t* const active = active_.data();
  const std::int32_t* const head = head_.data();
  const slot_layout& layout = *layout_;
  std::int64_t most = tolerance_;
  std::int32_t best = -1;
  for (const tree_node& node : tree_) {
    const std::int32_t end = layout.first(node.rank + 1);
    for (std::int32_t slot = layout.first(node.rank); slot < end; ++slot) {
      const std::int32_t expert = expert_of[slot];
      if (expert == no_expert || next[head[expert]] < 0 || weight_[expert] == 0) continue;
      for (std::int32_t other = head[expert]; other >= 0; other = next[other]) {
        if (active[other] == active[slot]) continue;
        const std::int64_t gap = (own - level(layout.rank_of(other))) * (active[slot] ? 1 : -1);
        if (gap > most) {
          most = gap;
          best = active[slot] ? other : slot;
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
