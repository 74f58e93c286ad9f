#pragma once
// Numbers of replicas found by search, for tokens that are split equally. The greedy gives every
// free slot to the heaviest replica, whatever sizes then have to share a rank; a very hot expert is
// often better off with far more replicas, whose size leaves room that the others fill.

#include <cstdint>
#include <span>
#include <vector>

#include "policies/packer.hpp"
#include "policies/placement.hpp"
#include "policies/smoother.hpp"
#include "policies/units.hpp"

namespace ballast {

/// Searches one layer after another and keeps its scratch memory between them.
///
/// Coordinate descent: the hottest experts one after another, and all again while that helps, try
/// other numbers of replicas; those without a chosen number share what is left as the greedy would.
/// Each try is judged by the fullest rank that packing makes of it. A search takes up to some
/// hundred packings; most tries are ruled out without.
class count_search {
 public:
  /// `capacity`: [ranks] usable slots, together at least as many as experts; must outlive this.
  explicit count_search(std::span<const std::int32_t> capacity);

  /// `loads`: [experts]. `enough`: tokens; the search ends where the fullest rank has no more.
  /// `expert_of_slot`: [slots], overwritten with the evenest packing found, no expert twice on a
  /// rank.
  void place(std::span<const std::int64_t> loads, const slot_layout& layout, std::int64_t enough,
             std::span<std::int32_t> expert_of_slot);

 private:
  bool descend(int hottest);
  bool try_counts();
  bool choose_counts();
  void sort_by_units();
  std::uint64_t least_fullest() const;
  bool pack();

  std::span<const std::int32_t> capacity_;
  std::int32_t hosts_ = 0;
  std::span<const std::int64_t> loads_;
  std::vector<std::int32_t> first_;        // [ranks] slots
  std::vector<std::int32_t> by_load_;      // [experts] hottest first
  std::vector<std::int32_t> pins_;         // [experts] chosen numbers of replicas; 0: none chosen
  std::vector<std::int32_t> counts_;       // [experts]
  std::int64_t changes_ = 0;               // of pins_
  std::vector<std::int64_t> searched_at_;  // [experts] of those changes, -1: not in this phase
  unit_scale scale_{0, 63};
  std::vector<std::int32_t> heap_;
  std::vector<std::int32_t> counted_;  // [experts] the counts of units_
  std::vector<std::uint64_t> units_;   // [experts] of a replica
  std::vector<std::int32_t> order_;    // [experts] by units
  std::vector<std::int32_t> packed_;   // [slots]
  std::span<std::int32_t> best_;       // [slots]
  std::uint64_t fullest_ = 0;          // of the best
  std::uint64_t enough_ = 0;
  int swaps_ = 0;
  rank_packer packer_;
  rank_smoother smoother_;
};

}  // namespace ballast
