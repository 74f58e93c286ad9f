// How the ranks of a flow_state are told apart by blocks. Most changes leave most blocks as they
// are, so only those in which something has changed are walked again.

#include "policies/flow_state.hpp"

namespace ballast {

/// All ranks as one block, which has changed.
void flow_state::forget_blocks() {
  for (const std::int32_t rank : changed_) is_changed_[rank] = 0;
  changed_.clear();
  block_of_.assign(now_.load.size(), 0);
  blocks_.assign(1, rank_block{0, 0, 0, 0});
  free_blocks_.clear();
  is_changed_.assign(now_.load.size(), 0);
  note_changed(0);
}

void flow_state::label_blocks() {
  if (rules_.equal_shares) forget_blocks();
  if (changed_.empty()) return;
  for (const std::int32_t rank : changed_) {
    is_changed_[rank] = 0;
    retire_block(block_of_[rank]);
  }
  changed_.clear();
  for (std::int32_t& block : block_of_) {
    if (blocks_[block].ranks == 0) block = -1;
  }
  for (int rank = 0; rank < ranks(); ++rank) {
    if (block_of_[rank] < 0) label_block(rank);
  }
}

void flow_state::retire_block(std::int32_t block) {
  if (block < 0 || blocks_[block].first < 0) return;
  blocks_[block] = {};
  free_blocks_.push_back(block);
}

/// Breadth first over the replicas that carry. Meets no rank of another block that has been walked,
/// but may meet blocks that were not known to have changed, and takes all of their ranks over.
void flow_state::label_block(int root) {
  if (free_blocks_.empty()) {
    free_blocks_.push_back(static_cast<std::int32_t>(blocks_.size()));
    blocks_.emplace_back();
  }
  const std::int32_t number = free_blocks_.back();
  free_blocks_.pop_back();
  rank_block found{0, 0, 0, root};
  const std::uint32_t walk = ++tree_number_;
  std::int32_t* const block_of = block_of_.data();
  std::int32_t* const queue = queue_.data();
  std::uint32_t* const seen = seen_expert_.data();
  const std::int32_t* const expert_of = expert_.data();
  const replica_link* const links = links_.data();
  const std::int32_t* const head = head_.data();
  const slot_bits::view active = now_.active.all();
  const std::int32_t idle = ranks();
  std::int32_t known = 1;
  queue[0] = root;
  block_of[root] = number;
  for (; found.ranks < known; ++found.ranks) {
    const int rank = queue[found.ranks];
    found.excess += level(rank) - mean_;
    found.speeds += rough_speed(rank);
    found.first = std::min(found.first, rank);
    active.for_each_of(rank, [&](std::int32_t slot) {
      const std::int32_t expert = expert_of[slot];
      if (seen[expert] == walk) return;
      seen[expert] = walk;
      for (std::int32_t other = head[expert]; other >= 0; other = links[other].next) {
        const int reached = links[other].reach;
        if (reached == idle || block_of[reached] == number) continue;
        retire_block(block_of[reached]);
        block_of[reached] = number;
        queue[known++] = reached;
      }
    });
  }
  blocks_[number] = found;
}

}  // namespace ballast
