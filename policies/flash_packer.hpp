#pragma once
// Packs replicas for `flash`: the heaviest expert first, each replica to the rank where mean plus z
// standard deviations comes out smallest, so that experts that are hot together live apart.

#include <cstdint>
#include <span>
#include <vector>

#include "policies/flash_layer.hpp"
#include "policies/packer.hpp"

namespace ballast {

/// Packs one candidate after another and keeps its scratch memory between them.
class flash_packer {
 public:
  /// `capacity`: [ranks] slots; must outlive this.
  explicit flash_packer(std::span<const std::int32_t> capacity) : capacity_(capacity) {}

  void start(const flash_layer& layer, const slot_layout& layout);

  /// `counts`: [experts], such that they can be placed with no two replicas on a rank.
  /// `expert_of_slot`: [slots], overwritten. False where the packing got stuck, which happens only
  /// where ranks have different capacities; `pack_by_mean` does not.
  bool pack(std::span<const std::int32_t> counts, std::span<std::int32_t> expert_of_slot);
  void pack_by_mean(std::span<const std::int32_t> counts, std::span<std::int32_t> expert_of_slot);

 private:
  struct rank_state {
    std::int64_t mean = 0;
    std::int64_t variance = 0;
    std::int32_t held = 0;
    std::int32_t last_expert = no_expert;  // marks the ranks that hold the expert being placed
  };

  __extension__ typedef __int128 int128;
  static constexpr int part_bits = 62;

  /// What one replica of the expert has of `value`: a multiplication, where a division would take
  /// most of the time there is.
  std::int64_t part(std::int64_t value, std::int32_t expert) const {
    return static_cast<std::int64_t>(static_cast<int128>(value) * parts_[expert] >> part_bits);
  }

  void order_by_mean(std::span<const std::int32_t> counts);
  bool place(std::int32_t expert, std::span<std::int32_t> expert_of_slot);
  void reopen(int rank);
  bool make_way(std::int32_t expert, std::span<std::int32_t> expert_of_slot);
  std::int64_t variance_with(int rank, std::int32_t expert,
                             std::span<const std::int32_t> expert_of_slot) const;
  void weigh(int rank, std::span<const std::int32_t> expert_of_slot);
  bool holds(int rank, std::int32_t expert, std::span<const std::int32_t> expert_of_slot) const;

  std::span<const std::int32_t> capacity_;
  const flash_layer* layer_ = nullptr;
  const slot_layout* layout_ = nullptr;
  std::vector<std::int32_t> first_;    // [ranks]
  std::vector<std::int32_t> by_mean_;  // [experts] of one replica each, heaviest first
  std::vector<std::int32_t> grown_;    // those with more, by what a replica carries
  std::vector<std::int32_t> order_;    // all, by what a replica carries
  std::vector<std::int32_t> counts_;
  std::vector<std::uint64_t> units_;  // [experts] of a replica
  std::vector<std::int64_t> parts_;   // [experts] 1 / count, in 2^-part_bits
  std::vector<rank_state> ranks_;
  std::vector<std::int32_t> open_;  // ranks with room, lightest mean first
  rank_packer packer_;
};

}  // namespace ballast
