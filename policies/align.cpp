#include "policies/align.hpp"

#include <algorithm>

#include "policies/placement.hpp"

namespace ballast {

namespace {

constexpr std::int32_t kept = -2;  // marks a position of `next` that has its slot

}  // namespace

/// Most ranks of a new plan keep nothing, and without gaps all is in its slot already.
bool slot_aligner::changes_nothing(std::span<const std::int32_t> current,
                                   std::span<const std::int32_t> next) {
  ++ranks_seen_;
  bool changes = false;
  for (const std::int32_t expert : current) seen_[expert + 1] = ranks_seen_;
  seen_[no_expert + 1] = ranks_seen_;
  for (const std::int32_t expert : next) changes |= seen_[expert + 1] == ranks_seen_;
  for (const std::int32_t expert : current) changes |= expert == no_expert;
  return !changes;
}

std::int32_t slot_aligner::align(std::span<const std::int32_t> current,
                                 std::span<std::int32_t> next) {
  const auto slots = static_cast<std::int32_t>(current.size());
  next_position_.resize(current.size());
  aligned_.resize(current.size());
  if (changes_nothing(current, next)) return slots;
  std::int32_t planned = 0;
  for (std::int32_t position = slots - 1; position >= 0; --position) {
    if (next[position] == no_expert) continue;
    next_position_[position] = first_position_[next[position]];
    first_position_[next[position]] = position;
    ++planned;
  }
  std::int32_t empty_slot = slots;
  for (std::int32_t slot = slots - 1; slot >= 0; --slot) {
    if (current[slot] == no_expert) empty_slot = slot;
  }
  for (std::int32_t slot = 0; slot < slots; ++slot) {
    const std::int32_t expert = current[slot];
    aligned_[slot] = no_expert;
    if (expert == no_expert || first_position_[expert] < 0) continue;
    aligned_[slot] = expert;
    const std::int32_t position = first_position_[expert];
    first_position_[expert] = next_position_[position];
    next[position] = kept;
    --planned;
  }
  std::int32_t left_slot = 0;
  for (std::int32_t position = 0; position < slots; ++position) {
    const std::int32_t expert = next[position];
    if (expert == no_expert || expert == kept) continue;
    first_position_[expert] = -1;
    while (empty_slot < slots && current[empty_slot] != no_expert) ++empty_slot;
    if (empty_slot < slots) {
      aligned_[empty_slot++] = expert;
    } else {
      while (aligned_[left_slot] != no_expert) ++left_slot;
      aligned_[left_slot] = expert;
    }
  }
  std::copy(aligned_.begin(), aligned_.end(), next.begin());
  return planned;
}

}  // namespace ballast
