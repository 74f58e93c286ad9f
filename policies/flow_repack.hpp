#pragma once
// Another way to a plan where ranks have few slots: given a level that no rank may exceed, takes
// out what stands in its way, and puts it where it fits, heaviest first. Moves one after another
// get stuck there, because hardly any of them helps alone.

#include <cstdint>
#include <span>
#include <vector>

#include "policies/flow_groups.hpp"
#include "policies/flow_state.hpp"

namespace ballast {

/// Repacks one layer after another and keeps its scratch memory between them. Replicas of an expert
/// count with equal parts of its load here, though shares may then make better of it.
class flow_repacker {
 public:
  /// What stays the same from level to level.
  struct task {
    const flow_state& state;  ///< for weights, layout and levels; its experts do not matter
    std::span<const std::int32_t> start;   ///< [slots] experts to start from
    std::span<const std::int32_t> origin;  ///< [slots] experts that need not be moved
    std::span<const std::int32_t> usable;  ///< [ranks]
    const group_homes& homes;
  };

  /// Whether a placement without a rank above `level` was found; `slots` has it then. Experts with
  /// too few replicas for the level get more, at the cost of those with more than they need.
  bool repack(const task& what, std::int64_t level);

  std::span<const std::int32_t> slots() const { return slots_; }

 private:
  struct item {
    std::int64_t size;
    std::int32_t expert;
  };

  bool choose_counts(const task& what, std::int64_t level);
  void drop_replica(const task& what, std::int32_t expert);
  void clear_ranks(const task& what);
  bool place(const task& what, const item& next);
  void take_out(const task& what, std::int32_t slot);
  std::int64_t size(const task& what, std::int32_t expert) const {
    return what.state.weight(expert) / wanted_[expert];
  }

  std::vector<std::int32_t> slots_;
  std::vector<std::int32_t> counts_;    // [experts] replicas in slots_
  std::vector<std::int32_t> wanted_;    // [experts]
  std::vector<std::int32_t> needed_;    // [experts] for the level
  std::vector<std::int64_t> load_;      // [ranks]
  std::vector<std::int64_t> most_;      // [ranks]
  std::vector<std::int32_t> occupied_;  // [ranks]
  std::vector<item> waiting_;           // a heap, heaviest on top
};

}  // namespace ballast
