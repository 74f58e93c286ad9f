#pragma once
// Which item goes to which place where every pair has a price of its own: the cheapest way to give
// each its own.

#include <cstdint>
#include <limits>
#include <span>
#include <vector>

namespace ballast {

/// Assigns one set after another and keeps its scratch memory between them.
class assignment_solver {
 public:
  /// A pair that must not be.
  static constexpr std::int64_t forbidden = std::int64_t{1} << 40;

  /// `costs`: [count, count] of item and place, at least 0 and below `forbidden` / count, or
  /// `forbidden`. `place_of_item`: [count], overwritten. False if every assignment has a forbidden
  /// pair.
  bool solve(std::span<const std::int64_t> costs, std::span<std::int32_t> place_of_item);

 private:
  void augment(std::span<const std::int64_t> costs, std::int32_t item);

  std::size_t count_ = 0;
  std::vector<std::int64_t> item_price_;  // dual values
  std::vector<std::int64_t> place_price_;
  std::vector<std::int32_t> item_at_;  // [places] -1: none
  std::vector<std::int64_t> distance_;
  std::vector<std::int32_t> came_from_;  // [places] the place before, -1: the item at hand
  std::vector<std::uint8_t> settled_;
  std::vector<std::int32_t> open_;  // places that are not settled
};

}  // namespace ballast
