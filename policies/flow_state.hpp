#pragma once
// One layer while `flow` searches: which expert each slot holds, how much of the expert's load each
// replica takes, and the load of every rank. The loads that replicas take are kept at (or, after a
// trial change, brought back to) the evenest split that the placement allows.

#include <algorithm>
#include <cstdint>
#include <span>
#include <vector>

#include "policies/placement.hpp"
#include "policies/slot_bits.hpp"
#include "policies/speeds.hpp"

namespace ballast {

/// How the loads of a layer's experts become loads of ranks.
struct flow_rules {
  speed_scale speeds;
  int hosts = 1;                 ///< ranks that may hold experts
  std::int64_t host_speeds = 1;  ///< the sum of their speeds
  bool equal_shares = false;     ///< an expert's load is split equally over its replicas
};

/// A slot and the expert that it gets; no_expert empties it.
struct assignment {
  std::int32_t slot = -1;
  std::int32_t expert = no_expert;
};

/// Slot `to` gets the expert of slot `from`, which keeps its own (`swaps` false) or gets that of
/// slot `to`.
struct flow_change {
  std::int32_t from = -1;
  std::int32_t to = -1;
  bool swaps = false;
};

/// Loads here are in units of a power of two of a token, chosen so that the layer's total is below
/// 2^61, or 2^45 where ranks differ in speed.
///
/// The level of a rank is its load over its speed, scaled so that a rank of mean speed has its load
/// for a level: it is what a plan evens out.
///
/// The evenest split: no replica takes load on a rank that is at a higher level than another rank
/// that hosts its expert. It minimises the highest level and every other convex measure of the
/// levels at once. Then replicas that take load connect ranks of equal level; such a set of ranks
/// is called a block. With equal shares nothing is evened out, and every rank is a block.
class flow_state {
 public:
  __extension__ typedef __int128 score_type;

  /// Takes over a legal placement without duplicates on a rank. `loads`: [experts].
  void start(std::span<const std::int64_t> loads, const slot_layout& layout,
             std::span<const std::int32_t> expert_of_slot, const flow_rules& rules);

  int ranks() const { return static_cast<int>(now_.load.size()); }
  int experts_count() const { return static_cast<int>(head_.size()); }
  int slots() const { return static_cast<int>(expert_.size()); }
  const slot_layout& layout() const { return *layout_; }
  std::int32_t expert(std::int32_t slot) const { return expert_[slot]; }
  std::span<const std::int32_t> experts() const { return expert_; }
  std::int64_t flow(std::int32_t slot) const { return now_.flow[slot]; }
  /// Whether the slot's expert has other replicas and this one takes load (or may come to).
  bool carries(std::int32_t slot) const { return links_[slot].reach < ranks(); }
  std::int64_t load(int rank) const { return now_.load[rank]; }
  std::int64_t level(int rank) const { return level_at(rank, now_.load[rank]); }
  /// What the rank's level is when it carries `load`, and the most it may carry at a level.
  std::int64_t level_at(int rank, std::int64_t load) const {
    return uneven_ ? level_of(rank, load) : load;
  }
  std::int64_t load_at(int rank, std::int64_t level) const;
  /// Whether it carries less than load_at says.
  bool has_room(int rank, std::int64_t level) const {
    return uneven_ ? static_cast<score_type>(now_.load[rank] + 1) * factor_[rank] <=
                         static_cast<score_type>(level) << factor_bits
                   : now_.load[rank] < level;
  }
  std::int64_t speed(int rank) const { return uneven_ ? rules_.speeds.speeds[rank] : 1; }
  /// The rank's speed in sixteenths of the mean, at least 1; always 1 where all are the same.
  std::int64_t rough_speed(int rank) const {
    return uneven_ ? std::max<std::int64_t>(
                         16 * rules_.speeds.of(rank) * rules_.speeds.ranks / rules_.speeds.sum, 1)
                   : 1;
  }
  bool uneven() const { return uneven_; }
  bool equal_shares() const { return rules_.equal_shares; }
  std::int64_t weight(std::int32_t expert) const { return weight_[expert]; }
  std::int32_t replicas(std::int32_t expert) const { return count_[expert]; }
  /// Replicas that carry, where there are several.
  std::int32_t carriers(std::int32_t expert) const { return active_count_[expert]; }
  std::int32_t first_slot(std::int32_t expert) const { return head_[expert]; }
  std::int32_t next_slot(std::int32_t slot) const { return links_[slot].next; }
  bool holds(int rank, std::int32_t expert) const;
  /// Whether the expert, of a settled split, would put load on the rank if it had a replica there.
  bool would_use(int rank, std::int32_t expert) const;
  std::int64_t total() const { return total_; }
  std::int64_t mean() const { return mean_; }
  int unit_shift() const { return unit_shift_; }

  /// Sum over ranks of speed times the squared excess of the level over the mean, in rough units:
  /// what a search lowers.
  score_type score() const;
  std::int64_t fullest() const;  ///< the highest level
  /// An excess is shifted right by this before it is squared.
  int score_shift() const { return score_shift_; }

  /// Brings block_of and blocks up to date with a settled split.
  void label_blocks();
  /// [ranks] the number of each rank's block. Valid until the next label_blocks.
  std::span<const std::int32_t> block_of() const { return block_of_; }
  /// By number; some numbers may be unused.
  struct rank_block {
    std::int64_t excess = 0;  ///< of all its levels together over the mean
    std::int64_t speeds = 0;  ///< rough
    std::int32_t ranks = 0;   ///< 0: the number is unused
    std::int32_t first = -1;  ///< the lowest rank
  };
  std::span<const rank_block> blocks() const { return blocks_; }

  /// Changes; the ranks concerned are remembered for `settle`. An expert replaced keeps another
  /// replica, or else is put into a slot before `settle`.
  void replace(std::int32_t slot, std::int32_t expert);
  void swap(std::int32_t a, std::int32_t b);

  /// Brings the split back to (within a 16384th of the mean load of) the evenest, starting from the
  /// ranks that changes touched.
  void settle();

  /// All changes since `begin_trial` are undone by `roll_back`, or stay after `keep`.
  void begin_trial();
  void keep() { trial_ = false; }
  void roll_back();

  /// Moves `amount` of a replicated expert's load between two of its slots.
  void shift(std::int32_t from_slot, std::int32_t to_slot, std::int64_t amount);

 private:
  struct host {
    std::int64_t level;
    std::int64_t base;  // load of the rank but for this replica's
    std::int32_t slot;
  };
  /// What settling changes.
  struct split {
    std::vector<std::int64_t> flow;  // [slots]
    std::vector<std::int64_t> load;  // [ranks]
    slot_bits active;                // one of several replicas, and takes load
  };
  /// A replica among those of its expert.
  struct replica_link {
    std::int32_t next;   // slot; -1 after the last
    std::int32_t reach;  // its rank if it is active, otherwise the number of ranks
  };
  struct tree_node {
    std::int32_t rank;
    std::int32_t parent;    // index of the parent node, -1 for the root
    std::int32_t up_slot;   // on this rank, holds the expert that leads to the parent
    std::int32_t via_slot;  // on the parent's rank, holds the same expert
    std::int64_t need;      // of this rank and all below it
  };
  struct transfer {
    std::int64_t amount;  // that a replica takes over; less than 0: hands on
    std::int32_t slot;
    std::int32_t node;  // of the tree, whose edge to its parent it is on
  };

  void set_active(std::int32_t slot, bool active);
  std::int64_t level_of(int rank, std::int64_t load) const {
    return static_cast<std::int64_t>(static_cast<score_type>(load) * factor_[rank] >> factor_bits);
  }
  void choose_units(std::span<const std::int64_t> loads);
  void even_out_from_scratch();
  void split_equally(std::int32_t expert);
  void link(std::int32_t slot, std::int32_t expert);
  void unlink(std::int32_t slot);
  void put(std::int32_t slot, std::int32_t expert);
  void vacate(std::int32_t slot);
  void mark(int rank);
  std::int32_t lightest_other(std::int32_t slot) const;
  void respond(std::int32_t expert);
  void note_changed(int rank) {
    if (is_changed_[rank]) return;
    is_changed_[rank] = 1;
    changed_.push_back(rank);
  }
  void forget_blocks();
  void retire_block(std::int32_t block);
  void label_block(int root);
  void grow_tree(int root);
  std::span<tree_node> tree() { return {nodes_.data(), tree_size_}; }
  bool level_tree();
  void go_part(const transfer& limiting);
  void list_transfers();
  std::span<const transfer> transfers() const { return {transfers_.data(), transfer_count_}; }
  const transfer* first_to_empty() const;
  bool empties_before(const transfer& a, const transfer& b) const;
  void carry_out(const transfer& change);
  void drop(std::int32_t slot);
  bool extend_block();

  static constexpr int factor_bits = 32;

  const slot_layout* layout_ = nullptr;
  flow_rules rules_;
  bool uneven_ = false;
  std::vector<std::int64_t> factor_;  // [ranks] level over load, in 2^-32
  std::vector<std::int32_t> expert_;  // [slots]
  split now_;
  slot_bits several_;                       // one of several replicas
  std::vector<replica_link> links_;         // [slots]
  std::vector<std::int32_t> head_;          // [experts]
  std::vector<std::int32_t> count_;         // [experts]
  std::vector<std::int32_t> active_count_;  // [experts]
  std::vector<std::int64_t> weight_;        // [experts]
  std::vector<std::int32_t> touched_;       // ranks to settle
  std::vector<std::uint8_t> is_touched_;
  std::vector<std::int32_t> unchecked_;  // roots of blocks that may join others
  std::int64_t total_ = 0;
  std::int64_t mean_ = 0;
  std::int64_t tolerance_ = 0;
  int unit_shift_ = 0;
  int score_shift_ = 0;

  std::vector<std::int32_t> block_of_;
  std::vector<rank_block> blocks_;
  std::vector<std::int32_t> free_blocks_;  // unused numbers
  std::vector<std::int32_t> changed_;      // ranks in whose blocks something has changed since
  std::vector<std::uint8_t> is_changed_;

  std::vector<tree_node> nodes_;          // [ranks]
  std::size_t tree_size_ = 0;             // of them, the last tree grown
  std::vector<std::int32_t> queue_;       // ranks of a block
  std::vector<transfer> transfers_;       // [2 ranks]
  std::size_t transfer_count_ = 0;        // of them, those that even out the tree
  std::vector<std::uint32_t> seen_rank_;  // [ranks + 1] number of the tree that reached it
  std::vector<std::uint32_t> seen_expert_;
  std::uint32_t tree_number_ = 0;
  std::vector<host> hosts_;

  bool trial_ = false;
  split before_;                            // the trial
  bool before_is_now_ = false;              // nothing has changed since it was copied
  std::size_t changed_before_ = 0;          // of changed_
  std::vector<assignment> experts_before_;  // of the slots that a trial has changed
};

}  // namespace ballast
