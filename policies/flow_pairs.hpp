#pragma once
// Another way to a plan where every rank has two slots and it is known what has been and what is
// to come. There a level is made of pairs: what weighs more than half of it, the *heavy* replicas,
// lie on ranks of their own, and what counts is which light one lies beside each. Heavy ones stay
// where they are; the light ones beside them are an assignment, which can be solved: the fewest
// moves, and with those the heaviest beside the lightest. Swaps one after another do not get there.

#include <algorithm>
#include <cstdint>
#include <span>
#include <vector>

#include "policies/assignment.hpp"
#include "policies/placement.hpp"

namespace ballast {

/// Pairs one layer after another and keeps its scratch memory between them. Replicas of an expert
/// count with equal parts of its load here.
class flow_pairs {
 public:
  struct task {
    std::span<const std::int64_t> newest;    ///< [experts] what has been
    std::span<const std::int64_t> expected;  ///< [experts] what is to come
    std::span<const std::int32_t> start;     ///< [slots] experts, two on every rank; else no pairs
    std::span<const std::int32_t> origin;    ///< [slots] experts that need not be moved
    std::int64_t moves = -1;                 ///< slots that receive an expert, at most; -1: any
  };

  /// Whether the moves suffice for a placement whose fullest rank in the newest loads is as light
  /// as can be had, and in the expected ones as light as that allows; `slots` has it then. With
  /// fewer moves than that the search makes more of them.
  bool pair(const task& what);

  std::span<const std::int32_t> slots() const { return slots_; }

 private:
  /// What no rank may exceed.
  struct levels {
    std::int64_t newest;
    std::int64_t expected;
  };
  struct sizes {
    std::int64_t newest = 0;
    std::int64_t expected = 0;
  };

  bool scale(const task& what);
  levels find_levels();
  bool may_keep(const levels& most);
  bool may_keep_with(const levels& most, bool afresh);
  bool choose_counts(const levels& most, bool afresh);
  void spread_spare(const levels& most, std::int64_t spare);
  void list_sizes(const levels& most);
  bool find_partner(std::size_t heavy, const levels& most);
  bool arrange(const levels& most, std::int64_t preference);
  void drop_replicas(const levels& most);
  bool place_heavy(const levels& most, std::int64_t preference);
  bool place_displaced(const levels& most, std::int64_t preference);
  bool place_light(const levels& most, std::int64_t preference);
  bool part_twins();
  static std::int64_t nearness(const sizes& own, const levels& most) {
    return std::max((own.newest << 20) / most.newest, (own.expected << 20) / most.expected);
  }
  bool fits(std::int32_t a, std::int32_t b, const levels& most) const {
    return size_[a].newest + size_[b].newest <= most.newest &&
           size_[a].expected + size_[b].expected <= most.expected;
  }
  sizes size_of(std::int32_t expert, std::int64_t parts) const {
    return {weight_[expert].newest / parts, weight_[expert].expected / parts};
  }
  bool was_on(int rank, std::int32_t expert) const {
    return origin_[2 * rank] == expert || origin_[2 * rank + 1] == expert;
  }
  std::int64_t arrivals() const;

  std::int32_t experts_ = 0;
  std::int32_t ranks_ = 0;
  std::span<const std::int32_t> start_;
  std::span<const std::int32_t> origin_;
  std::vector<sizes> weight_;             // [experts]
  std::vector<std::int32_t> held_;        // [experts] replicas at the start
  std::vector<std::int32_t> needed_;      // [experts] for the levels
  std::vector<std::int32_t> wanted_;      // [experts]
  std::vector<sizes> size_;               // [experts] of a replica
  std::vector<std::uint8_t> heavy_;       // [experts]
  std::vector<std::int32_t> heavy_list_;  // replicas, heaviest first
  std::vector<std::int32_t> light_list_;  // replicas, lightest first
  std::vector<std::int32_t> partner_of_;  // of light_list_, in heavy_list_
  std::vector<std::uint8_t> visited_;     // of light_list_
  std::vector<std::int32_t> heavy_on_;    // [ranks] -1: none
  std::vector<std::int32_t> displaced_;   // heavy replicas without a rank
  std::vector<std::int32_t> place_rank_;  // ranks of the places that are assigned
  std::vector<std::int64_t> costs_;
  std::vector<std::int32_t> place_of_;
  std::vector<std::int32_t> kept_;  // [slots] of the start, without what is dropped
  std::vector<std::int32_t> slots_;
  std::vector<std::int32_t> found_;  // [slots] that keep the levels
  assignment_solver solver_;
};

}  // namespace ballast
