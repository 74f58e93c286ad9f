#pragma once
// Group locality: where routing is limited to nodes, or weights are dealt by groups, all replicas
// of a group's experts are on one node, the group's home.

#include <cstdint>
#include <span>
#include <vector>

#include "policies/placement.hpp"
#include "policies/speeds.hpp"

namespace ballast {

struct group_shape {
  std::int32_t groups = 1;  ///< of experts; `nodes` divides it, and it divides the experts
  std::int32_t nodes = 1;   ///< of equally many consecutive ranks; 1: groups do not matter
};

/// Homes of the groups of one layer after another, equally many groups to a node.
class group_homes {
 public:
  /// `usable`: [ranks] slots; those of a node are at least as many as the experts of its groups.
  group_homes(int experts, const group_shape& shape, std::span<const std::int32_t> usable,
              const speed_scale& speeds);

  bool kept() const { return shape_.nodes > 1; }
  bool allows(int rank, std::int32_t expert) const {
    return shape_.nodes == 1 || home_[expert / members_] == rank / ranks_per_node_;
  }

  /// The homes that need fewest replicas moved: each group goes where it has most of them.
  void read(const slot_layout& layout, std::span<const std::int32_t> slots);

  /// Whether every replica is at home.
  bool local(const slot_layout& layout, std::span<const std::int32_t> slots) const;

  /// Changes the homes: from the heaviest group to the lightest node, then by swaps of two groups
  /// while one lowers the highest bound of a node.
  void choose(std::span<const std::int64_t> loads);

  /// Changes the homes by such swaps alone, at most `most` of them, and returns how many there
  /// were.
  int improve(std::span<const std::int64_t> loads, int most);

  /// The highest lower bound (bound_with_free_shares) of a node.
  scaled_load bound(std::span<const std::int64_t> loads) const;

  /// A placement from nothing on every node: by the published greedy if `enough` is 0, otherwise by
  /// the search of count_search.hpp until no rank has more than `enough` tokens.
  void place(std::span<const std::int64_t> loads, const slot_layout& layout, std::int64_t enough,
             std::span<std::int32_t> slots) const;

  /// Lets the groups that are not at home change places with the others of that kind, replica for
  /// replica, the heaviest for the heaviest.
  void bring_home(std::span<const std::int64_t> loads, const slot_layout& layout,
                  std::span<std::int32_t> slots) const;

 private:
  scaled_load node_bound(std::span<const std::int64_t> loads, int node) const;
  std::vector<std::int32_t> experts_of(int node) const;

  group_shape shape_;
  std::span<const std::int32_t> usable_;
  speed_scale speeds_;
  int experts_ = 0;
  int members_ = 1;  // experts of a group
  int ranks_per_node_ = 1;
  std::vector<std::int32_t> home_;  // [groups] node
};

}  // namespace ballast
