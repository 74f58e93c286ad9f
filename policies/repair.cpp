#include "policies/repair.hpp"

#include <algorithm>

namespace ballast {

void layer_repair::repair(const slot_layout& layout, std::span<const std::int32_t> usable,
                          int experts, std::span<std::int32_t> slots) {
  occupied_.assign(usable.size(), 0);
  replicas_.assign(static_cast<std::size_t>(experts), 0);
  drop_duplicates(layout, slots);
  drop_redundant(layout, usable, slots);
  for (int rank = 0; rank < layout.ranks(); ++rank) {
    for (int slot = layout.first(rank + 1) - 1; occupied_[rank] > usable[rank]; --slot) {
      const std::int32_t expert = slots[slot];
      if (expert == no_expert) continue;
      slots[slot] = no_expert;
      --occupied_[rank];
      host(layout, usable, expert, slots);
    }
  }
  for (int expert = 0; expert < experts; ++expert) {
    if (replicas_[expert] == 0) host(layout, usable, expert, slots);
  }
}

/// Also counts what there is.
void layer_repair::drop_duplicates(const slot_layout& layout, std::span<std::int32_t> slots) {
  for (int rank = 0; rank < layout.ranks(); ++rank) {
    const auto first = slots.begin() + layout.first(rank);
    for (int slot = layout.first(rank); slot < layout.first(rank + 1); ++slot) {
      const std::int32_t expert = slots[slot];
      if (expert == no_expert) continue;
      if (std::find(first, slots.begin() + slot, expert) != slots.begin() + slot) {
        slots[slot] = no_expert;
        continue;
      }
      ++occupied_[rank];
      ++replicas_[expert];
    }
  }
}

void layer_repair::drop_redundant(const slot_layout& layout, std::span<const std::int32_t> usable,
                                  std::span<std::int32_t> slots) {
  for (int rank = 0; rank < layout.ranks(); ++rank) {
    for (int slot = layout.first(rank + 1) - 1;
         slot >= layout.first(rank) && occupied_[rank] > usable[rank]; --slot) {
      const std::int32_t expert = slots[slot];
      if (expert == no_expert || replicas_[expert] < 2) continue;
      slots[slot] = no_expert;
      --replicas_[expert];
      --occupied_[rank];
    }
  }
}

/// Puts an expert that is nowhere now into the first free usable slot or in place of the first
/// redundant replica. One of them exists: the usable slots are at least as many as the experts.
void layer_repair::host(const slot_layout& layout, std::span<const std::int32_t> usable,
                        std::int32_t expert, std::span<std::int32_t> slots) {
  for (int rank = 0; rank < layout.ranks(); ++rank) {
    if (occupied_[rank] > usable[rank]) continue;
    for (int slot = layout.first(rank); slot < layout.first(rank + 1); ++slot) {
      const std::int32_t held = slots[slot];
      const bool free = held == no_expert && occupied_[rank] < usable[rank];
      if (!free && (held == no_expert || replicas_[held] < 2)) continue;
      if (free) {
        ++occupied_[rank];
      } else {
        --replicas_[held];
      }
      slots[slot] = expert;
      replicas_[expert] = 1;
      return;
    }
  }
}

}  // namespace ballast
