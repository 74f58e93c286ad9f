#pragma once
// Policy `flow`: starts from the current placement, shares each expert's tokens over its replicas
// as evenly as the ranks allow, and then makes only the moves that buy most.
//
// The problem, per layer: which slot holds which expert, and how the tokens of an expert split over
// its replicas, so that the fullest rank (load over speed) is as light as can be for few moves.
//
// 1. repair.hpp makes the current layer legal by the least change.
// 2. Shares (flow_state.hpp, flow_shares.hpp). For a given placement the best split is a flow from
//    experts to ranks. The evenest one, where no replica takes load on a rank that is fuller than
//    another host of its expert, minimises the fullest rank and every other convex measure at once,
//    so one split serves both the search and the answer. Experts with one replica are constants, so
//    the network has only the replicated ones. After a change only the block of ranks that it
//    touches is levelled again; that is what makes a trial cheap. At the end Newton steps on the
//    minimum cut give the exact minimum of the fullest rank.
// 3. Moves (flow_search.hpp, flow_estimates.cpp; flow_ledger.hpp counts what they cost). Only what
//    relieves the fullest block can help: an expert of it gets a replica on an emptier rank, or
//    changes places with a lighter one.
//    Candidates are ranked by an estimate, the best are tried, settled and rolled back (but for
//    those that an earlier trial's levels show to bring no more), and the one
//    that lowers the sum of squared excess over the mean most per price (arrivals, and the links
//    they come over) is made, until the bound, the purse or no candidate is left.
// 4. Where single moves get stuck: chains (flow_chains.hpp), and for ranks of few slots repacking
//    below a level found by bisection (flow_repack.hpp). When the moves are spent, one that carries
//    little is taken back for a better one.
//    Where ranks have two slots each and the newest loads are known, pairs take the place of 3
//    and 4 (flow_pairs.hpp).
// 5. Without a limit on moves also a start from the greedy's placement, and with equal shares from
//    one whose numbers of replicas are searched (count_search.hpp), taken if it is clearly better,
//    since it moves nearly everything. With groups (flow_groups.hpp) all of this happens
//    inside the groups' nodes, and groups may change nodes.
// 6. On a cold start arrivals change places so that replicas of an expert lie on more nodes
//    (flow_spread.hpp), where no rank comes out fuller and no more moves.
// 7. Where it is known how loads vary, hedge.hpp evens out what they may become. Where the newest
//    window is known, no rank is to become fuller in it for that.
//
// All in integers with ties by the lowest id. The work of a move is the candidates tried (tens)
// times the ranks and replicas of the blocks they touch; measured times are on the page of figures.
// The placement is a local optimum, never worse than the one it started from; only the shares are
// optimal.

#include <cstdint>
#include <span>
#include <vector>

#include "policies/align.hpp"
#include "policies/balance.hpp"
#include "policies/count_search.hpp"
#include "policies/deepseek.hpp"
#include "policies/flow_groups.hpp"
#include "policies/flow_pairs.hpp"
#include "policies/flow_repack.hpp"
#include "policies/flow_search.hpp"
#include "policies/flow_shares.hpp"
#include "policies/flow_spread.hpp"
#include "policies/flow_state.hpp"
#include "policies/hedge.hpp"
#include "policies/plan.hpp"
#include "policies/repair.hpp"

namespace ballast {

/// What all layers have in common. Everything referred to must outlive the planner.
struct flow_setting {
  const cluster_map& cluster;
  std::span<const std::int32_t> usable_slots;  ///< [ranks]
  const speed_scale& speeds;
  group_shape homes;
  int experts = 1;
  bool equal_shares = false;
  bool cold_start = false;
};

/// Plans one layer after another and keeps its scratch memory between them.
class flow_planner {
 public:
  explicit flow_planner(const flow_setting& setting);

  /// `loads`: [experts]. `current`: [slots of layout] experts, legal but for duplicates on a rank
  /// and slots that are not usable; those are put right first, whatever the purse says.
  /// `expert_of_slot`, `share_of_slot`: [slots], overwritten. An expert that stays on its rank
  /// keeps its slot. Where `expected` has samples, the layer is then hedged (hedge.hpp).
  void plan_layer(const varying_loads& expected, const slot_layout& layout,
                  std::span<const std::int32_t> current, const flow_purse& purse,
                  std::span<std::int32_t> expert_of_slot, std::span<std::int32_t> share_of_slot);

  /// Whether all groups are at homes.
  bool is_local(const slot_layout& layout, std::span<const std::int32_t> experts);

  /// The highest load plus z standard deviations of any rank; `otherwise` where loads are not known
  /// to vary.
  scaled_load risk(const varying_loads& expected, const slot_layout& layout,
                   std::span<const std::int32_t> experts, std::span<const std::int32_t> shares,
                   scaled_load otherwise);

 private:
  struct found_layer {
    std::vector<std::int32_t> experts;  // [slots]
    std::int64_t fullest = 0;
  };

  void search(std::span<const std::int64_t> loads);
  void search_from(std::span<const std::int64_t> loads, std::span<const std::int32_t> experts,
                   const group_homes& homes);
  void try_other_homes(std::span<const std::int64_t> loads);
  void plan_afresh(std::span<const std::int64_t> loads);
  void repack(std::span<const std::int64_t> loads);
  bool pair(const varying_loads& expected);
  void spread();
  std::int64_t bound_at(std::span<const std::int64_t> loads, const group_homes& homes) const;
  void hedge(const varying_loads& expected);
  void write(const slot_layout& layout, std::span<const std::int32_t> current,
             std::span<std::int32_t> expert_of_slot, std::span<std::int32_t> share_of_slot);

  flow_setting setting_;
  flow_rules rules_;
  host_set hosts_;
  const slot_layout* layout_ = nullptr;
  std::span<const std::int32_t> current_;
  flow_purse purse_;
  flow_state state_;
  flow_search search_;
  share_solver shares_;
  slot_aligner aligner_;
  layer_repair repair_;
  flow_repacker repacker_;
  flow_pairs pairs_;
  bool paired_ = false;  // found_ is of pairs_
  deepseek_planner deepseek_;
  count_search counts_;
  node_spreader spreader_;
  group_homes homes_;                 // of the current placement
  std::vector<std::int32_t> start_;   // [slots] the current experts, put right
  std::vector<std::int32_t> afresh_;  // [slots]
  found_layer found_;
  hedge_state varying_;
  hedge_search hedging_;
  std::vector<std::int32_t> share_;  // [slots] of found_
};

}  // namespace ballast
