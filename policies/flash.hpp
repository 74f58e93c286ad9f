#pragma once
// The rules of vllm-ascend's FlashLB: replica counts found by search, judged by the placement they
// lead to over a series of windows, and the placement numbered so that little moves.

#include <cstdint>
#include <span>
#include <vector>

#include "policies/flash_layer.hpp"
#include "policies/flash_packer.hpp"
#include "policies/layer_policy.hpp"
#include "policies/rank_matching.hpp"
#include "policies/repair.hpp"
#include "policies/spread_rule.hpp"

namespace ballast {

/// The search: experts by risk, in four groups. Group after group, how many of the replicas left it
/// gets against all groups behind it is varied around what the greedy would give, up to 8 to either
/// side, each number judged by packing everything; the best is kept. Before it stands the greedy
/// itself, packed by a rule that always succeeds: so there is a plan for every layer, and none is
/// worse than the greedy's.
///
/// A layer is planned only where its balance over the series is below 0.9 (0.95 under 32 ranks),
/// which are the published thresholds of a layer planned perfectly before; and taken only if it
/// comes out better.
class flash_policy : public layer_policy {
 public:
  /// `usable_slots`: [ranks], must outlive this.
  flash_policy(std::span<const std::int32_t> usable_slots, int experts);

  void plan_layer(const layer_question& question, std::span<std::int32_t> expert_of_slot) override;
  bool weighs_the_series(const layer_question& question) const override {
    return question.windows() > 1;
  }

 private:
  bool must_plan(const layer_question& question);
  void search();
  void grow(std::size_t first, std::size_t last, std::int64_t extra,
            std::vector<std::int32_t>& extras);
  void grow_greedily();
  bool fits(std::span<const std::int32_t> counts) const;
  void add(std::span<const std::int32_t> extras);
  std::uint64_t try_counts();

  std::span<const std::int32_t> capacity_;
  int hosts_ = 0;
  bool uniform_ = true;
  std::int64_t spare_ = 0;  // replicas beyond the first
  layer_repair repair_;
  flash_layer layer_;
  flash_packer packer_;
  rank_matcher matcher_;

  const slot_layout* layout_ = nullptr;
  std::vector<std::int32_t> start_;       // [slots] the current experts, repaired
  std::vector<std::int32_t> by_risk_;     // [experts] riskiest first
  std::vector<std::int32_t> counts_;      // [experts] of the candidate
  std::vector<std::int32_t> fixed_;       // [experts] of the groups decided
  std::vector<std::int32_t> extras_all_;  // experts in the order the greedy gives them replicas
  std::vector<std::int32_t> extras_group_;
  std::vector<std::int32_t> extras_rest_;
  std::vector<std::int32_t> heap_;
  std::vector<std::int32_t> grown_;      // [experts] counts while extras are listed
  std::vector<std::int32_t> candidate_;  // [slots]
  std::vector<std::int32_t> best_;
  std::uint64_t best_score_ = 0;
};

}  // namespace ballast
