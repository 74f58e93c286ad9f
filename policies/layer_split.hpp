#pragma once
// The rank loads (levels, where ranks differ in speed) of a layer while its slots change one step
// after another, its tokens split anew after each: for explaining plans.

#include <cstdint>
#include <memory>
#include <span>

#include "policies/explain.hpp"

namespace ballast {

class layer_split {
 public:
  virtual ~layer_split() = default;

  /// What is compared of a step not made yet; less is better.
  struct merit {
    std::int64_t fullest = 0;  ///< in 4096ths of the mean rank load
    scaled_load unevenness = 0;
    auto operator<=>(const merit&) const = default;
  };

  virtual merit judge(std::span<const slot_change> changes) = 0;
  virtual void make(std::span<const slot_change> changes) = 0;
  virtual scaled_load fullest() const = 0;  ///< exact
  virtual scaled_load level(int rank) const = 0;
};

/// `loads`, `layout` and the speeds must outlive it. Equally over the replicas of an expert:
std::unique_ptr<layer_split> split_equally(std::span<const std::int64_t> loads,
                                           const slot_layout& layout,
                                           std::span<const std::int32_t> experts,
                                           const speed_scale& speeds);
/// As evenly as the placement allows, no expert twice on a rank:
std::unique_ptr<layer_split> split_evenly(std::span<const std::int64_t> loads,
                                          const slot_layout& layout,
                                          std::span<const std::int32_t> experts,
                                          const speed_scale& speeds);

}  // namespace ballast
