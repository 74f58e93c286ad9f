#pragma once
// SGLang's vectorised variant of the EPLB greedy. It looks at the series of windows: the next
// replica goes where it lowers the sum over windows of the heaviest replica most; and it deals the
// replicas out to the ranks to and fro instead of weighing the ranks.

#include <cstdint>
#include <span>
#include <vector>

#include "policies/apart_packer.hpp"
#include "policies/deepseek.hpp"
#include "policies/groups.hpp"
#include "policies/layer_policy.hpp"

namespace ballast {

/// Without a series the loads are the one window there is.
///
/// Not `compatible`, no expert gets more replicas than can be kept on ranks of their own, and the
/// replicas are packed as `deepseek` packs them.
///
/// Ties: in a window the heaviest replica is the one of largest load / count, then of largest
/// index / count (the published code adds a ten-thousandth of the index to the load). Of experts
/// that lower the sum equally, the one that is heaviest in most windows gets the replica, then the
/// lowest id. The published code gives it to the lowest id whether that helps or not, and so heaps
/// all replicas on expert 0 where two experts tie.
class deepseek_vec_policy : public layer_policy {
 public:
  explicit deepseek_vec_policy(const deepseek_shape& shape);

  void plan_layer(const layer_question& question, std::span<std::int32_t> expert_of_slot) override;

 private:
  void plan_node(std::span<const std::int32_t> experts, std::span<const std::int32_t> capacity,
                 std::span<const std::int32_t> first_slot, const slot_layout& layout,
                 std::span<std::int32_t> expert_of_slot);
  void choose_counts(std::size_t experts, std::span<const std::int32_t> capacity);
  std::int32_t most_relieving(std::size_t experts, std::span<const std::uint8_t> full) const;
  void deal(std::span<const std::int32_t> first_slot, std::int32_t per_rank,
            std::span<std::int32_t> expert_of_slot);
  void order_by_weight();

  deepseek_shape shape_;
  std::vector<std::int32_t> ranks_;  // those planned for
  std::vector<std::int32_t> capacity_;
  std::vector<std::int32_t> first_slot_;
  group_dealer groups_;
  apart_packer packer_;
  const layer_question* question_ = nullptr;
  std::vector<std::int32_t> all_experts_;
  // Of one node; experts by their number in it.
  std::vector<std::int64_t> loads_;   // [windows][experts]
  std::vector<std::uint64_t> sizes_;  // [windows][experts] of a replica, in units
  std::vector<std::int64_t> sums_;    // [experts] loads as the request estimates them
  std::vector<std::int32_t> counts_;
  std::vector<std::int32_t>
      replicas_;                     // [slots] expert: the first of each, then as they were given
  std::vector<std::int32_t> order_;  // of replicas_, heaviest first
  std::vector<std::uint64_t> units_;
};

}  // namespace ballast
