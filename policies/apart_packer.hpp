#pragma once
// The published packing with no two replicas of an item on a rank: first to the letter, then
// replicas that met are swapped away, then swaps win back what that cost.

#include <cstdint>
#include <span>
#include <vector>

#include "policies/packer.hpp"
#include "policies/smoother.hpp"

namespace ballast {

/// Packs one layer (or node) after another and keeps its scratch memory between them.
class apart_packer {
 public:
  /// `capacity`, `first`, `item_of_place`: as in rank_packer. `order`: all items, heaviest first;
  /// `counts`, `units`: [items], the counts such that they fit (spread_rule.hpp).
  void pack(std::span<const std::int32_t> capacity, std::span<const std::int32_t> first,
            std::span<const std::int32_t> order, std::span<const std::int32_t> counts,
            std::span<const std::uint64_t> units, std::span<std::int32_t> item_of_place);

 private:
  rank_packer packer_;
  rank_smoother smoother_;
};

}  // namespace ballast
