#pragma once
// The moves that even out a layer, one after another: each gives an expert of the fullest ranks a
// replica elsewhere, or swaps it with a lighter one.

#include <cstdint>
#include <span>
#include <vector>

#include "policies/flow_chains.hpp"
#include "policies/flow_groups.hpp"
#include "policies/flow_ledger.hpp"
#include "policies/flow_state.hpp"
#include "topology/cluster_map.hpp"

namespace ballast {

/// Searches one layer after another and keeps its scratch memory between them.
class flow_search {
 public:
  flow_search(const cluster_map& cluster, std::span<const std::int32_t> usable_slots);

  /// Improves `state` by moves counted against `origin` (the experts of its slots that need not be
  /// moved) within the purse, until the highest level is `target` or less, in units of the state.
  /// Returns the lowest highest level on the way; `best` is the placement that had it.
  std::int64_t improve(flow_state& state, std::span<const std::int32_t> origin,
                       const group_homes& homes, const flow_purse& purse, std::int64_t target);

  /// [slots] experts where the fullest rank was lightest.
  std::span<const std::int32_t> best() const { return saved_; }

  /// Whether these experts are within the last purse.
  bool affordable(std::span<const std::int32_t> experts) const {
    return ledger_.affordable(experts);
  }

 private:
  using score_type = flow_state::score_type;

  /// Ranks of equal level, connected by replicas that carry.
  struct block {
    std::int64_t level = 0;   // over the mean, coarse
    std::int64_t speeds = 0;  // rough, of its ranks; with equal speeds their number
  };
  /// What evening out two blocks brings.
  struct evening {
    block from, to;
    std::int64_t amount = 0;  // that makes them even
    std::int64_t gain = 0;    // of that
  };
  struct candidate {
    std::int64_t value = 0;  // estimated gain over price
    flow_change change;
    bool surpassed = false;  // brings no more than one that was tried
  };

  struct burdened {
    std::int64_t more = 0;  // that every host of an expert carries
    std::int64_t gain = 0;  // of the sum of squares; less than 0
  };
  struct weighed_slot {
    std::int64_t weight;  // of its expert
    std::int32_t slot;
  };

  struct outcome {
    score_type gain = 0;
    flow_change change;
    bool tried = true;
  };

  bool step(flow_state& state);
  void carry_out(flow_state& state, const flow_change& next);
  bool take_first(flow_state& state, std::size_t first);
  bool take_best(flow_state& state, std::size_t first);
  void list_no_better(const flow_state& state, std::size_t tried, std::int32_t left);
  bool revise(flow_state& state);
  bool take_chain(flow_state& state);
  bool make_chain(flow_state& state, std::span<const assignment> chain);
  bool escape(flow_state& state);
  void label_blocks(flow_state& state);
  std::int64_t coarse(const flow_state& state, std::int64_t load) const;
  std::int64_t amount(const flow_state& state, std::int64_t load) const;
  void list_sources(const flow_state& state);
  void list_targets(const flow_state& state);
  bool may_relieve(const flow_state& state, int rank) const;
  static std::int64_t squares_lost(const block& changed, std::int64_t amount);
  const evening& evening_with(std::int32_t number);
  static evening evening_out(const block& from, const block& to);
  static std::int64_t transfer_gain(const evening& out, std::int64_t least, std::int64_t most);
  static std::int64_t transfer_loss(const block& from, const block& to, std::int64_t amount);
  void estimate_replacements(const flow_state& state);
  std::int64_t stranded(const flow_state& state, std::int32_t slot);
  std::int64_t fixed_load(const flow_state& state, int rank);
  std::int32_t refuge_of(const flow_state& state, std::int32_t slot) const;
  void estimate_swaps(const flow_state& state);
  /// Candidates of this value or less are not among the best.
  std::int64_t least_offered() const { return best_.size() == limit_ ? best_.back().value : 0; }
  void offer(const flow_state& state, const candidate& next);
  void estimate_equal_replacements(const flow_state& state);
  std::int64_t squares_lost_at(const flow_state& state, int rank, std::int64_t more) const;
  static void apply(flow_state& state, const flow_change& next);

  std::span<const std::int32_t> usable_;
  flow_ledger ledger_;
  const group_homes* homes_ = nullptr;
  std::int64_t target_ = 0;
  int revisions_ = 0;
  std::vector<std::pair<std::int64_t, std::int32_t>> revisable_;  // load and slot

  std::int64_t mean_speed_ = 1;             // as rough_speed counts
  std::span<const std::int32_t> block_of_;  // [ranks] of the state
  std::vector<block> blocks_;
  std::vector<evening> evenings_;         // [blocks_] as evening_with; speeds 0: not known yet
  std::vector<std::int64_t> fixed_load_;  // [ranks] -1: not known yet
  std::int32_t top_ = 0;
  std::vector<burdened> burdens_;  // [experts]
  std::vector<weighed_slot> weighed_;
  std::vector<std::int32_t> sources_;  // slots of the fullest block
  std::vector<std::int64_t> keys_;     // of targets
  std::vector<std::int32_t> targets_;  // ranks below it, emptiest first
  std::vector<std::int64_t>
      ceilings_;                 // per target, what a swap with it or a later one gains at most
  std::vector<candidate> best_;  // at most limit_, best first
  std::size_t limit_ = 0;
  std::vector<std::size_t> no_better_;  // candidates that the last trial speaks against
  std::vector<outcome> losing_;         // candidates of the last step that did not help
  flow_state before_;                   // an escape
  chain_finder chains_;
  std::vector<std::int32_t> open_;  // ranks with a free usable slot
  std::vector<std::int32_t> saved_;
};

}  // namespace ballast
