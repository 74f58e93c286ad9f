#pragma once
// Groups of experts to nodes, as the published hierarchical planners deal them: heaviest first, to
// the lightest node that has room, equally many to each.

#include <cstdint>
#include <span>
#include <vector>

#include "policies/packer.hpp"

namespace ballast {

/// Deals one layer after another and keeps its scratch memory between them.
class group_dealer {
 public:
  /// `nodes` divides `groups`, `groups` the experts. With one group to a node, `single_in_order`
  /// gives group g to node g whatever the loads.
  void deal(std::span<const std::int64_t> loads, std::int32_t groups, std::int32_t nodes,
            bool single_in_order);

  /// [experts] those of node 0 first, each node's groups in the order they were dealt.
  std::span<const std::int32_t> experts() const { return experts_; }

 private:
  rank_packer packer_;
  std::vector<std::int64_t> group_loads_;
  std::vector<std::int32_t> order_;
  std::vector<std::int32_t> capacity_;  // [nodes] groups
  std::vector<std::int32_t> first_;
  std::vector<std::int32_t> group_of_place_;
  std::vector<std::int32_t> experts_;
};

}  // namespace ballast
