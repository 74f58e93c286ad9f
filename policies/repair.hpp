#pragma once
// The least change that makes a layer legal: no expert twice on a rank, no more experts on a rank
// than its usable slots (none on a dead rank), every expert hosted.

#include <cstdint>
#include <span>
#include <vector>

#include "policies/placement.hpp"

namespace ballast {

/// Repairs one layer after another and keeps its scratch memory between them.
class layer_repair {
 public:
  /// `usable`: [ranks] slots that may be occupied, in all at least `experts`. `slots`: [slots of
  /// layout] experts, changed in place. Redundant replicas leave first. When only last replicas are
  /// left on a rank that holds too many, the lowest ranks with a free usable slot, or else with a
  /// redundant replica, take them; so does every expert that has no replica at all.
  void repair(const slot_layout& layout, std::span<const std::int32_t> usable, int experts,
              std::span<std::int32_t> slots);

 private:
  void drop_duplicates(const slot_layout& layout, std::span<std::int32_t> slots);
  void drop_redundant(const slot_layout& layout, std::span<const std::int32_t> usable,
                      std::span<std::int32_t> slots);
  void host(const slot_layout& layout, std::span<const std::int32_t> usable, std::int32_t expert,
            std::span<std::int32_t> slots);

  std::vector<std::int32_t> occupied_;  // [ranks]
  std::vector<std::int32_t> replicas_;  // [experts]
};

}  // namespace ballast
