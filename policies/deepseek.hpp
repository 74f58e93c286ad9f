#pragma once
// The published EPLB greedy: groups of experts to nodes, replicas inside each node, replicas to the
// ranks of the node; or, globally, the same with one group and one node.

#include <cstdint>
#include <span>
#include <vector>

#include "policies/apart_packer.hpp"
#include "policies/groups.hpp"
#include "policies/load_sorter.hpp"
#include "policies/packer.hpp"
#include "policies/placement.hpp"
#include "policies/replicas.hpp"

namespace ballast {

struct deepseek_shape {
  std::int32_t experts = 1;
  std::int32_t groups = 1;             ///< divides experts; nodes divides it
  std::int32_t nodes = 1;              ///< of equally many consecutive ranks each
  std::vector<std::int32_t> capacity;  ///< [ranks] slots to fill; equal unless nodes == 1
  bool compatible = false;  ///< the published rules to the letter; equal capacities or none then
};

/// Plans one layer after another from nothing and keeps its scratch memory between them.
///
/// Ties, as published with a stable sort: heavier first, then lower index; the lightest pack, then
/// the lowest index; the first expert of largest load / count gets the next replica; with one item
/// per pack, item i goes to pack i.
///
/// Not `compatible`, no two replicas of an expert meet on a rank: those that the published rules
/// put together are swapped apart, and swaps win back the balance that costs (apart_packer.hpp).
/// Replicas of an expert are then packed one after the other, experts of equal load / count by
/// index.
class deepseek_planner {
 public:
  explicit deepseek_planner(deepseek_shape shape);

  /// `loads`: [experts]. `expert_of_slot`: [slots of layout], overwritten: rank r's k-th item is in
  /// its k-th slot, the rest is empty. `replica_of_slot`, unless empty, for `compatible` only: the
  /// same shape, which replica of the expert it is, in the order of creation (the order of the
  /// published log2phy).
  void plan_layer(std::span<const std::int64_t> loads, const slot_layout& layout,
                  std::span<std::int32_t> expert_of_slot,
                  std::span<std::int32_t> replica_of_slot = {});

 private:
  void plan_node(std::span<const std::int64_t> loads, std::span<const std::int32_t> by_load,
                 std::span<const std::int32_t> capacity, std::span<const std::int32_t> first_slot,
                 std::span<std::int32_t> expert_of_slot, std::span<std::int32_t> replica_of_slot);
  void order_by_node(std::span<const std::int32_t> by_load);
  void pack_as_published(std::span<const std::int32_t> first_slot, bool one_per_rank,
                         std::span<std::int32_t> expert_of_slot,
                         std::span<std::int32_t> replica_of_slot);
  void number_extras();
  void order_published_items();

  /// A replica as the published code numbers it: the i-th item is expert i, then come the extras.
  struct item {
    std::int32_t expert = 0;
    std::int32_t replica = 0;
  };

  deepseek_shape shape_;
  std::vector<std::int32_t> ranks_;     // those planned for
  std::vector<std::int32_t> capacity_;  // theirs
  group_dealer groups_;
  load_sorter sorter_;
  replica_chooser replicas_;
  rank_packer packer_;
  apart_packer apart_;
  std::vector<std::int32_t> node_of_;     // of the experts in the order of nodes
  std::vector<std::int64_t> node_loads_;  // in that order too
  std::vector<std::int32_t> by_load_;     // node by node: the node's own numbers, heaviest first
  std::vector<std::int32_t> listed_;      // [nodes]
  std::vector<std::int32_t> first_slot_;
  std::vector<std::uint64_t> units_;       // [experts of the node]
  std::vector<std::int32_t> extra_first_;  // [experts of the node] first of its extras, -1 if none
  std::vector<std::int32_t> extra_last_;
  std::vector<std::int32_t> extra_next_;     // [extras] next of the same expert
  std::vector<std::int32_t> extra_replica_;  // [extras] which replica it is, from 1
  std::vector<std::int32_t> run_extras_;
  std::vector<item> items_;
};

}  // namespace ballast
