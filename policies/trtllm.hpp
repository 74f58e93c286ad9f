#pragma once
// TensorRT-LLM's planner: replicas to the expert of largest load per replica, the highest id among
// equals; then all replicas, largest first, to the lightest rank. It knows neither groups nor the
// current placement.

#include <cstdint>
#include <span>
#include <vector>

#include "policies/deepseek.hpp"
#include "policies/layer_policy.hpp"
#include "policies/load_sorter.hpp"
#include "policies/packer.hpp"
#include "policies/replicas.hpp"

namespace ballast {

class trtllm_policy : public layer_policy {
 public:
  /// Of `shape` experts, capacity and compatible are used.
  explicit trtllm_policy(deepseek_shape shape) : shape_(std::move(shape)) {}

  void plan_layer(const layer_question& question, std::span<std::int32_t> expert_of_slot) override;

  /// [experts] replicas of each, slots in all; without load as many for each as for any other, the
  /// lowest ids first with what does not divide. Not compatible, only counts that can be placed
  /// with no two replicas on a rank.
  void choose_counts(std::span<const std::int64_t> loads);
  std::span<const std::int32_t> counts() const { return counts_; }

 private:
  deepseek_shape shape_;
  load_sorter sorter_;
  replica_chooser replicas_;
  rank_packer packer_;
  std::vector<std::int64_t> mirrored_;  // [experts] loads, the last expert's first
  std::vector<std::int32_t> counts_;
  std::vector<std::int32_t> order_;
  std::vector<std::int32_t> first_;
  std::vector<std::uint64_t> units_;
};

}  // namespace ballast
