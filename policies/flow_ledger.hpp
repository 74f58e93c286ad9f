#pragma once
// What the moves of a layer cost while `flow` searches: what has arrived where and over which
// links, what of the purse is left for more, and what a change would cost.

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "policies/flow_state.hpp"
#include "topology/cluster_map.hpp"

namespace ballast {

/// What one layer may spend.
struct flow_purse {
  std::int64_t moves = -1;                  ///< slots that receive an expert; -1: any number
  std::span<const std::int64_t> rank_left;  ///< [ranks] how many of them each rank may have, then
                                            ///< [link classes] over how many links of each class
                                            ///< they may come; empty: any number
};

/// Counts against the experts that need not be moved, of one layer after another; changes are
/// counted before they are made. Everything referred to must outlive the ledger's use.
class flow_ledger {
 public:
  flow_ledger(const cluster_map& cluster, std::span<const std::int32_t> usable_slots);

  /// `origin`: [slots] the experts that need not be moved.
  void open(const flow_state& state, std::span<const std::int32_t> origin, const flow_purse& purse);
  /// Counts anew what the state's experts have cost.
  void count(const flow_state& state);
  /// Counts a change that is not made yet; `times` -1 takes it back.
  void note(const flow_state& state, const flow_change& next, int times);

  bool limited() const { return purse_.moves >= 0; }
  std::int64_t moves_left() const { return purse_.moves - moves_; }  ///< where they are limited
  bool has_room(int rank) const { return occupied_[rank] < usable_[rank]; }
  std::int32_t origin(std::int32_t slot) const { return origin_[slot]; }
  bool was_on(int rank, std::int32_t expert) const;

  bool allows(const flow_state& state, const flow_change& next) const;
  bool allows(const flow_state& state, std::span<const assignment> chain) const;
  /// Whether these experts are within the purse, whatever has been counted.
  bool affordable(std::span<const std::int32_t> experts) const;

  /// Of all that arrives, at least a quarter of price_one, which is about a move's; what takes back
  /// earlier arrivals costs little.
  static constexpr std::int64_t price_one = 64;
  std::int64_t price(const flow_state& state, const flow_change& next) const;

 private:
  using link_changes = std::array<std::int64_t, link_class_count>;

  void note_arrival(const flow_state& state, std::int32_t expert, std::int32_t slot, int times);
  int arrivals(const flow_state& state, std::int32_t expert, std::int32_t slot) const;
  bool fits(std::int64_t more, std::size_t of) const {
    return more <= 0 || rank_moves_[of] + more <= purse_.rank_left[of];
  }
  bool links_fit(const link_changes& links) const;
  void add_links(const flow_state& state, std::int32_t expert, std::int32_t slot,
                 link_changes& links) const;
  std::size_t link_index(std::int32_t expert, int rank) const;
  std::int64_t link_price(std::int32_t expert, int rank) const;
  std::int64_t link_cost(int from, int to) const;

  const cluster_map& cluster_;
  std::span<const std::int32_t> usable_;
  std::int64_t dearest_ = 1;
  const slot_layout* layout_ = nullptr;
  std::span<const std::int32_t> origin_;
  std::vector<std::vector<std::int32_t>> hosts_before_;  // [experts] ranks that hold it in origin_
  flow_purse purse_;
  std::int64_t moves_ = 0;
  std::vector<std::int64_t> rank_moves_;  // as rank_left counts
  std::vector<std::int32_t> occupied_;    // [ranks] slots
};

}  // namespace ballast
