#pragma once
// Who hosts what: the expert of every slot of every layer, and the share of its tokens that each
// replica gets. Slots are numbered rank by rank, so a slot layout turns a slot into a rank.

#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace ballast {

/// The expert of an empty slot.
inline constexpr std::int32_t no_expert = -1;

/// Shares are integers out of this; the shares of an expert's replicas sum to it.
inline constexpr std::int32_t share_one = 65536;

/// Which rank each slot of a layer lives on: rank r owns slots [first(r), first(r) + count(r)).
/// The same for all layers. Ranks may own different numbers of slots.
class slot_layout {
 public:
  slot_layout() = default;

  /// `ranks` ranks of `slots_per_rank` slots each. Throws std::invalid_argument if either is < 1 or
  /// there are more than 2^30 slots in all.
  static slot_layout uniform(int ranks, int slots_per_rank);

  /// One count per rank; zero is allowed. Throws std::invalid_argument if empty or negative, or if
  /// there are more than 2^30 slots in all.
  static slot_layout ragged(std::span<const std::int32_t> slots_per_rank);

  int ranks() const { return static_cast<int>(first_.size()) - 1; }
  int slots() const { return first_.back(); }
  int first(int rank) const { return first_[rank]; }
  int count(int rank) const { return first_[rank + 1] - first_[rank]; }
  int rank_of(int slot) const { return rank_of_[slot]; }
  bool is_uniform() const;

  bool operator==(const slot_layout&) const = default;

 private:
  std::vector<std::int32_t> first_ = {0};  // [ranks + 1]
  std::vector<std::int32_t> rank_of_;      // [slots]
};

/// [layers][slots] experts and shares, with a version per layer that counts its commits.
class placement {
 public:
  placement() = default;

  /// All slots empty, all versions 0. Throws std::invalid_argument if layers or experts is < 1.
  placement(int layers, int experts, slot_layout layout);

  int layers() const { return layers_; }
  int experts() const { return experts_; }
  int slots() const { return layout_.slots(); }
  const slot_layout& layout() const { return layout_; }

  std::span<std::int32_t> experts_of(int layer);  // [slots], no_expert where empty
  std::span<const std::int32_t> experts_of(int layer) const;
  std::span<std::int32_t> shares_of(int layer);  // [slots], 0 where empty
  std::span<const std::int32_t> shares_of(int layer) const;
  std::uint64_t version(int layer) const { return versions_[layer]; }
  void bump_version(int layer) { ++versions_[layer]; }

  bool operator==(const placement&) const = default;

 private:
  int layers_ = 0;
  int experts_ = 0;
  slot_layout layout_;
  std::vector<std::int32_t> expert_of_slot_;
  std::vector<std::int32_t> share_of_slot_;
  std::vector<std::uint64_t> versions_;
};

/// The placement that a run starts from when none is given: in every layer the i-th usable slot
/// holds expert i mod experts, equal shares. `usable` is the number of slots per rank to fill,
/// counted from the rank's first; the rest stay empty (spare rows). Throws std::invalid_argument if
/// the usable slots are fewer than the experts or more than a rank has.
placement initial_placement(int layers, int experts, const slot_layout& layout,
                            std::span<const std::int32_t> usable);

/// The same, but in layer l no more than slots_per_layer[l] slots of a rank are filled.
placement initial_placement(int layers, int experts, const slot_layout& layout,
                            std::span<const std::int32_t> usable,
                            std::span<const std::int32_t> slots_per_layer);

/// Splits every expert of one layer equally over its replicas; what does not divide goes, one unit
/// each, to the replicas in the lowest slots.
void set_equal_shares(std::span<const std::int32_t> expert_of_slot, int experts,
                      std::span<std::int32_t> share_of_slot);

/// Empty if the placement is legal, otherwise one line that names layer, slot or expert and value:
/// ids in range, every expert hosted, shares in [0, share_one] that sum to share_one per expert and
/// are 0 in empty slots, and, unless `allow_duplicates`, no two replicas of an expert on one rank.
std::string why_illegal(const placement& candidate, bool allow_duplicates);

/// The replicas of every expert of one layer, in slot order: replica k of expert e is in slot
/// slot_of_replica[first_replica[e] + k].
struct replica_lists {
  std::vector<std::int32_t> first_replica;    // [experts + 1]
  std::vector<std::int32_t> slot_of_replica;  // [occupied slots]
};
replica_lists list_replicas(std::span<const std::int32_t> expert_of_slot, int experts);

}  // namespace ballast
