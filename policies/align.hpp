#pragma once
// Keeps experts in their slots: a planner decides which experts a rank hosts, not in which of its
// slots, and an expert that stays on its rank need not be copied from one slot to another.

#include <cstdint>
#include <span>
#include <vector>

namespace ballast {

/// Permutes the planned experts of one rank after another; keeps its scratch memory between them.
class slot_aligner {
 public:
  explicit slot_aligner(int experts)
      : first_position_(static_cast<std::size_t>(experts), -1),
        seen_(static_cast<std::size_t>(experts) + 1, 0) {}

  /// `current`, `next`: the slots of one rank, no_expert where empty; `next` is permuted. The
  /// current slots in ascending order keep their expert if `next` has it (as often as it does). Of
  /// the others, in the order `next` has them, each goes to the lowest slot that is empty now, and
  /// when those are taken to the lowest slot whose expert leaves.
  ///
  /// Without empty slots this is vLLM's preserve_intragpu_slots.
  ///
  /// Returns how many of the planned experts find no slot that has them already.
  std::int32_t align(std::span<const std::int32_t> current, std::span<std::int32_t> next);

 private:
  bool changes_nothing(std::span<const std::int32_t> current, std::span<const std::int32_t> next);

  std::vector<std::int32_t> first_position_;  // [experts] position in `next`, -1: none left
  std::vector<std::int32_t> next_position_;   // [slots] next position of the same expert
  std::vector<std::int32_t> aligned_;
  std::vector<std::uint64_t> seen_;  // [expert + 1] the last rank that has it, all ranks numbered
  std::uint64_t ranks_seen_ = 0;
};

}  // namespace ballast
