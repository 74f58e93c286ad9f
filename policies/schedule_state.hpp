#pragma once
// What a schedule under construction knows: where every expert is once all batches made so far have
// committed, which slots the batch in flight touches, and what the batch being made has admitted.
// The rules of legality are here, and only here; schedule_batches.cpp decides what to try,
// schedule_sources.cpp where weights come from.
//
// Two views of the past must both be right while a batch is under way: its predecessor has
// committed, or has not yet. So a replica is `serving` only where both views agree. Commits come in
// order, so for what happens at a commit `hosted`, the count once everything before has committed,
// is enough.

#include <algorithm>
#include <cstdint>
#include <span>
#include <vector>

#include "policies/schedule.hpp"

namespace ballast::scheduling {

/// A move whose source is not chosen yet.
struct admitted_move {
  std::int32_t layer = 0;
  std::int32_t slot = 0;
  std::int32_t expert = 0;
  std::int32_t displaced = no_expert;
  move_way way = move_way::spare;
  std::int32_t previous_touch = 0;    ///< of the slot, for withdraw_last
  std::int32_t expected_sender = -1;  ///< rank
};

struct admitted_release {
  std::int32_t layer = 0;
  std::int32_t slot = 0;
  std::int32_t expert = 0;
};

class transition {
 public:
  /// Throws std::invalid_argument as make_schedule says.
  explicit transition(const schedule_request& request);

  // ---- shape and goal
  const schedule_request& request() const { return request_; }
  int layers() const { return request_.current->layers(); }
  int ranks() const { return layout_.ranks(); }
  int slots() const { return slots_; }
  int rank_of(std::int32_t slot) const { return layout_.rank_of(slot); }
  link_class link(std::int32_t from_slot, std::int32_t to_slot) const;
  std::int32_t holds(int layer, std::int32_t slot) const { return held_[row(layer, slot)]; }
  std::int32_t wants(int layer, std::int32_t slot) const { return wanted_[row(layer, slot)]; }
  /// Slots of the layer that do not hold what they should, ascending, as of the batches finished.
  const std::vector<std::int32_t>& open_slots(int layer) const { return open_slots_[layer]; }
  bool done() const { return open_count_ == 0; }
  /// The slots where the target has `expert`, ascending.
  std::span<const std::int32_t> homes(int layer, std::int32_t expert) const;

  /// Whether the slot may be written: the layer has it, and its rank is not gone.
  bool exists(int layer, std::int32_t slot) const {
    const int rank = rank_of(slot);
    return !is_gone(rank) && (request_.rows_per_layer.empty() ||
                              slot - layout_.first(rank) < request_.rows_per_layer[layer]);
  }

  // ---- replicas
  /// The slots that hold `expert`, as of the batches finished: for (s = first_holder(..); s >= 0; s
  /// = next_holder(..)).
  std::int32_t first_holder(int layer, std::int32_t expert) const {
    return first_holder_[pair(layer, expert)];
  }
  std::int32_t next_holder(int layer, std::int32_t slot) const {
    return next_holder_[row(layer, slot)];
  }
  /// Replicas once the batches finished and the one being made have committed.
  std::int32_t hosted(int layer, std::int32_t expert) const { return hosted_[pair(layer, expert)]; }
  /// True if a move of this batch may read the slot: trusted, not touched by the batch in flight,
  /// not written by this one.
  bool is_readable(int layer, std::int32_t slot) const;
  /// False for an expert with a distrusted copy and no slot to go to: all its copies count, so none
  /// may be read.
  bool may_move(int layer, std::int32_t expert) const {
    return !std::binary_search(immovable_.begin(), immovable_.end(), pair(layer, expert));
  }
  bool has_source(int layer, std::int32_t expert) const {
    return serving_[pair(layer, expert)] > 0;
  }

  // ---- the batch being made
  bool has_previous() const { return now_ > 0; }
  /// Starts a batch with nothing in it; `overlapping`: it may be in flight together with the one
  /// before.
  void begin(bool overlapping);
  /// True if this batch or the one in flight writes or releases the slot.
  bool is_touched(int layer, std::int32_t slot) const {
    return touched_in_[row(layer, slot)] >= oldest_;
  }
  bool can_vacate(int layer, std::int32_t slot) const;
  bool can_release(int layer, std::int32_t slot) const;
  /// True if hosted replicas remain when a commit takes this slot's expert away.
  bool is_spared(int layer, std::int32_t slot) const;
  bool has_room(int rank, move_way way) const;
  /// Staged moves that one rank may receive in one batch.
  std::int32_t staged_room() const { return std::min(receive_limit_, request_.staging_rows); }
  /// True unless the expert would come from a rank that sends as many moves of this batch as a rank
  /// may receive: no sender should make a batch longer than its receivers do.
  bool has_idle_sender(int layer, std::int32_t expert, std::int32_t slot) const;
  bool any_rank_open() const { return open_ranks_ > 0; }
  void admit(int layer, std::int32_t slot, std::int32_t expert, move_way way);
  void withdraw_last();
  void release(int layer, std::int32_t slot);
  const std::vector<admitted_move>& admitted() const { return moves_; }
  bool is_empty() const { return moves_.empty() && releases_.empty(); }
  /// Chooses sources and rounds, appends the batch to `out` and makes it the one in flight.
  void finish(schedule& out);

 private:
  std::size_t row(int layer, std::int32_t slot) const {
    return static_cast<std::size_t>(layer) * slots_ + slot;
  }
  std::size_t pair(int layer, std::int32_t expert) const {
    return static_cast<std::size_t>(layer) * experts_ + expert;
  }
  bool is_gone(int rank) const {
    return !request_.gone_ranks.empty() && request_.gone_ranks[rank] != 0;
  }
  void check_shapes() const;
  void check_slots() const;
  void read_placements();
  void distrust();
  void check_sources() const;
  void count_immovable();
  std::int32_t expected_sender(int layer, std::int32_t expert, std::int32_t slot) const;
  void rank_receives(int rank, int change);
  void refresh_serving(const std::vector<admitted_move>& moves,
                       const std::vector<admitted_release>& releases);
  void link_holder(int layer, std::int32_t slot, std::int32_t expert);
  void unlink_holder(int layer, std::int32_t slot);
  void commit();

  const schedule_request& request_;  // not owned
  const slot_layout& layout_;
  int slots_ = 0;
  int experts_ = 0;
  std::int32_t receive_limit_ = 0;
  std::int32_t now_ = 0;     // number of the batch being made
  std::int32_t oldest_ = 0;  // number of the oldest batch that may be in flight with it

  // By row (layer, slot).
  std::vector<std::int32_t> held_, wanted_;
  std::vector<std::int32_t> next_holder_, previous_holder_;
  std::vector<std::int32_t> touched_in_;  // batch that last wrote or released it
  std::vector<std::int32_t>
      in_place_in_;                    // batch that last wrote it before a commit (spare, vacate)
  std::vector<std::int32_t> read_in_;  // batch that last read it
  std::vector<std::uint8_t> counts_;   // 0: its copy is distrusted and its expert must move
  std::vector<std::int32_t> home_slots_;  // per layer, the slots by wanted expert

  // By (layer, expert).
  std::vector<std::int32_t> first_holder_, hosted_, serving_;
  std::vector<std::int32_t>
      first_home_;  // [layers][experts + 1] into the layer's part of home_slots_
  std::vector<std::size_t> immovable_;  // ascending

  std::vector<std::vector<std::int32_t>> open_slots_;  // [layers]
  std::int64_t open_count_ = 0;

  // By rank.
  std::vector<std::int64_t> pending_;  // slots still to be filled
  std::vector<std::int32_t> received_, staged_, expected_sends_;
  int open_ranks_ = 0;  // ranks with slots to fill and room left

  std::vector<admitted_move> moves_, moves_before_, moves_before_that_;
  std::vector<admitted_release> releases_, releases_before_, releases_before_that_;
};

}  // namespace ballast::scheduling
