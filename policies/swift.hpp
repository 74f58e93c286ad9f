#pragma once
// The rules of vllm-ascend's SwiftBalancer, for slow links: every expert keeps its first replica
// where it is, the other slots are filled anew, and then pairs of ranks swap experts. No rank sends
// another more than one expert of a layer, and what a rank receives it does not pass on.

#include <cstdint>
#include <span>
#include <vector>

#include "policies/align.hpp"
#include "policies/layer_policy.hpp"
#include "policies/repair.hpp"
#include "policies/units.hpp"

namespace ballast {

/// A layer within a hundredth of even keeps its placement, and so does one that comes out no
/// better; at most 100 swaps, each of which lowers the fuller of its two ranks by at least a
/// hundredth of the layer's mean rank load.
///
/// Ties as published: the highest id gets the next replica; copies of equal size by id; the lowest
/// of equally light ranks takes a copy; the highest of equally full ranks is relieved.
///
/// The published code counts a replica of an expert with k extra ones as 2 / (k + 2) of its load
/// where it is 1 / (k + 1), and forgets about transfers already planned when it fills slots that
/// are left over. It does so here only if `compatible`.
class swift_policy : public layer_policy {
 public:
  /// `usable_slots`: [ranks], must outlive this.
  swift_policy(std::span<const std::int32_t> usable_slots, int experts, bool compatible);

  void plan_layer(const layer_question& question, std::span<std::int32_t> expert_of_slot) override;

 private:
  struct exchange {
    std::int32_t from_slot = -1;  // on the fullest rank
    std::int32_t to_slot = -1;
    std::uint64_t fuller = 0;  // of the two ranks, afterwards
  };

  bool worth_a_look(std::span<const std::int64_t> loads);
  void keep_first_replicas();
  void choose_copies(std::span<const std::int64_t> loads);
  void place_copies();
  void fill_the_rest(std::span<const std::int64_t> loads);
  void weigh(std::span<const std::int64_t> loads);
  void swap_pairs();
  bool swap_once(int fullest);
  exchange best_exchange(int fullest, int other) const;
  void list_by_id(int rank, std::vector<std::int32_t>& slots) const;

  bool holds(std::span<const std::int32_t> slots, int rank, std::int32_t expert) const;
  std::uint64_t estimate(std::int64_t load, std::int32_t count) const;
  void put(std::int32_t slot, std::int32_t expert);
  bool has_sent(int from, int to) const;
  void note_sent(int from, int to) { sent_to_[from].push_back(to); }
  std::uint64_t fullest_load() const;

  std::span<const std::int32_t> usable_;
  bool compatible_;
  int hosts_ = 0;  // ranks with usable slots
  layer_repair repair_;
  slot_aligner aligner_;

  const slot_layout* layout_ = nullptr;
  unit_scale scale_{1, 62};
  std::uint64_t mean_ = 0;
  std::uint64_t fullest_before_ = 0;
  std::vector<std::int32_t> slots_;                 // [slots] expert
  std::vector<std::int32_t> before_;                // the same, before anything was changed
  std::vector<std::int32_t> home_;                  // [experts] rank of the first replica
  std::vector<std::vector<std::int32_t>> free_;     // [ranks] slots to fill anew, ascending
  std::vector<std::int32_t> count_;                 // [experts] replicas
  std::vector<std::uint64_t> size_;                 // [experts] of a replica
  std::vector<std::uint64_t> load_;                 // [ranks]
  std::vector<std::vector<std::int32_t>> sent_to_;  // [ranks] ranks that this one sent an expert to
  std::vector<std::uint8_t> received_;              // [slots] whether the expert came in this plan
  std::vector<std::int32_t> copies_;
  std::vector<std::int32_t> ranks_by_load_;
  std::vector<std::int32_t> mine_, theirs_;  // slots of a pair of ranks, by expert
};

}  // namespace ballast
