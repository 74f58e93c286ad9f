#include "policies/recovery.hpp"

#include <algorithm>

namespace ballast {

namespace {

class layer_recovery {
 public:
  layer_recovery(placement& left, int layer, const recovery_room& room)
      : layout_(left.layout()),
        held_(left.experts_of(layer)),
        room_(room),
        slots_(room.slots_per_layer.empty() ? layout_.slots() : room.slots_per_layer[layer]),
        occupied_(static_cast<std::size_t>(layout_.ranks()), 0),
        replicas_(static_cast<std::size_t>(left.experts()), 0) {}

  /// Empties ranks that are gone; false if they held nothing.
  bool leave() {
    bool left_any = false;
    for (int slot = 0; slot < layout_.slots(); ++slot) {
      if (held_[slot] == no_expert) continue;
      const int rank = layout_.rank_of(slot);
      if (room_.gone[rank] != 0) {
        held_[slot] = no_expert;
        left_any = true;
        continue;
      }
      ++occupied_[rank];
      ++replicas_[held_[slot]];
    }
    return left_any;
  }

  bool has(std::int32_t expert) const { return replicas_[expert] > 0; }

  /// The slot that takes an expert nobody has, or -1.
  std::int32_t host(std::int32_t expert) {
    std::int32_t slot = free_slot();
    if (slot < 0) slot = redundant_slot();
    if (slot < 0) return -1;
    if (held_[slot] == no_expert) {
      ++occupied_[layout_.rank_of(slot)];
    } else {
      --replicas_[held_[slot]];
    }
    held_[slot] = expert;
    replicas_[expert] = 1;
    return slot;
  }

 private:
  bool may_load(int rank) const { return room_.masked.empty() || room_.masked[rank] == 0; }

  std::int32_t free_slot() const {
    int emptiest = -1;
    for (int rank = 0; rank < layout_.ranks(); ++rank) {
      if (!may_load(rank) || occupied_[rank] >= std::min(room_.usable_slots[rank], slots_))
        continue;
      if (emptiest < 0 || occupied_[rank] < occupied_[emptiest]) emptiest = rank;
    }
    if (emptiest < 0) return -1;
    const auto own = held_.subspan(layout_.first(emptiest), layout_.count(emptiest));
    const auto at = std::ranges::find(own, no_expert);
    const auto row = static_cast<std::int32_t>(at - own.begin());
    return at == own.end() || row >= slots_ + room_.spare_rows ? -1 : layout_.first(emptiest) + row;
  }

  std::int32_t redundant_slot() const {
    std::int32_t best = -1;
    for (int slot = 0; slot < layout_.slots(); ++slot) {
      if (held_[slot] == no_expert || !may_load(layout_.rank_of(slot))) continue;
      if (replicas_[held_[slot]] < 2) continue;
      if (best < 0 || replicas_[held_[slot]] > replicas_[held_[best]]) best = slot;
    }
    return best;
  }

  const slot_layout& layout_;
  std::span<std::int32_t> held_;
  const recovery_room& room_;
  std::int32_t slots_;                  // of a rank in this layer
  std::vector<std::int32_t> occupied_;  // [ranks]
  std::vector<std::int32_t> replicas_;  // [experts]
};

}  // namespace

recovery recover(const placement& current, const recovery_room& room) {
  recovery found{current, {}};
  if (room.gone.empty()) return found;
  placement& left = found.left;
  for (int layer = 0; layer < left.layers(); ++layer) {
    layer_recovery one(left, layer, room);
    if (!one.leave()) continue;
    for (std::int32_t expert = 0; expert < left.experts(); ++expert) {
      if (!one.has(expert)) found.lost.push_back({layer, expert, one.host(expert)});
    }
    set_equal_shares(left.experts_of(layer), left.experts(), left.shares_of(layer));
  }
  return found;
}

}  // namespace ballast
