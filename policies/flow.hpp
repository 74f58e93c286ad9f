#pragma once
// Policy `flow`: starts from the current placement, shares each expert's tokens over its replicas
// as evenly as the ranks allow, and then makes only the moves that buy most.

#include <cstdint>
#include <span>
#include <vector>

#include "policies/align.hpp"
#include "policies/deepseek.hpp"
#include "policies/flow_search.hpp"
#include "policies/flow_shares.hpp"
#include "policies/flow_state.hpp"
#include "policies/plan.hpp"
#include "policies/repair.hpp"

namespace ballast {

/// What one layer may spend.
struct flow_allowance {
  std::int64_t moves = -1;  ///< slots that receive an expert; -1: any number
  std::span<const std::int64_t>
      rank_left;  ///< [ranks] how many of them each rank may have; empty: any number
};

/// Plans one layer after another and keeps its scratch memory between them.
class flow_planner {
 public:
  /// `usable_slots`: [ranks]; both must outlive this.
  flow_planner(const cluster_map& cluster, std::span<const std::int32_t> usable_slots, int experts);

  /// `loads`: [experts]. `current`: [slots of layout] experts, legal but for duplicates on a rank
  /// and slots that are not usable; those are put right first, whatever the allowance.
  /// `expert_of_slot`, `share_of_slot`: [slots], overwritten. An expert that stays on its rank
  /// keeps its slot.
  void plan_layer(std::span<const std::int64_t> loads, const slot_layout& layout,
                  std::span<const std::int32_t> current, const flow_allowance& allowance,
                  std::span<std::int32_t> expert_of_slot, std::span<std::int32_t> share_of_slot);

 private:
  void plan_afresh(std::span<const std::int64_t> loads, const slot_layout& layout,
                   std::span<const std::int32_t> current, const flow_budget& budget,
                   std::int64_t fullest);
  std::int64_t lower_bound(std::span<const std::int64_t> loads) const;
  void write(const slot_layout& layout, std::span<const std::int32_t> current,
             std::span<std::int32_t> expert_of_slot, std::span<std::int32_t> share_of_slot);

  std::span<const std::int32_t> usable_;
  int experts_ = 0;
  int hosts_ = 0;
  int usable_total_ = 0;
  flow_state state_;
  flow_search search_;
  share_solver shares_;
  slot_aligner aligner_;
  layer_repair repair_;
  deepseek_planner deepseek_;
  std::vector<std::int32_t> start_;  // [slots] the current experts, put right
  std::vector<std::int32_t> found_;  // [slots]
  std::vector<std::int32_t> share_;  // [slots] of found_
};

}  // namespace ballast
