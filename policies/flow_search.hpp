#pragma once
// The moves that even out a layer, one after another: each gives an expert of the fullest ranks a
// replica elsewhere, or swaps it with a lighter one.

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "policies/flow_chains.hpp"
#include "policies/flow_groups.hpp"
#include "policies/flow_state.hpp"
#include "topology/cluster_map.hpp"

namespace ballast {

/// What one layer may spend.
struct flow_purse {
  std::int64_t moves = -1;                  ///< slots that receive an expert; -1: any number
  std::span<const std::int64_t> rank_left;  ///< [ranks] how many of them each rank may have, then
                                            ///< [link classes] over how many links of each class
                                            ///< they may come; empty: any number
};

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
  bool affordable(std::span<const std::int32_t> experts) const;

 private:
  using score_type = flow_state::score_type;

  /// Ranks of equal level, connected by replicas that carry.
  struct block {
    std::int64_t level = 0;   // over the mean, coarse
    std::int64_t speeds = 0;  // rough, of its ranks; with equal speeds their number
  };
  /// Slot `to` gets the expert of slot `from`, which keeps its own (`swaps` false) or gets that of
  /// slot `to`.
  struct candidate {
    std::int64_t value = 0;  // estimated gain over price
    std::int32_t from = -1;
    std::int32_t to = -1;
    bool swaps = false;
  };

  using link_changes = std::array<std::int64_t, link_class_count>;

  struct outcome {
    score_type gain = 0;
    candidate change;
  };

  void list_hosts(std::size_t experts);
  void count_arrivals(const flow_state& state);
  bool was_on(int rank, std::int32_t expert) const;
  bool step(flow_state& state);
  void carry_out(flow_state& state, const candidate& next);
  void note(const flow_state& state, const candidate& next, int times);
  void note_arrival(const flow_state& state, std::int32_t expert, std::int32_t slot, int times);
  bool take_first(flow_state& state, std::size_t first);
  bool take_best(flow_state& state, std::size_t first);
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
  static std::int64_t transfer_gain(const block& from, const block& to, std::int64_t least,
                                    std::int64_t most);
  static std::int64_t transfer_loss(const block& from, const block& to, std::int64_t amount);
  void estimate_replacements(const flow_state& state);
  std::int64_t stranded(const flow_state& state, std::int32_t slot);
  std::int64_t fixed_load(const flow_state& state, int rank);
  std::int32_t refuge_of(const flow_state& state, std::int32_t slot) const;
  void estimate_swaps(const flow_state& state);
  void offer(const flow_state& state, const candidate& next);
  int arrivals(const flow_state& state, std::int32_t expert, std::int32_t slot) const;
  bool fits(std::int64_t more, std::size_t of) const {
    return more <= 0 || rank_moves_[of] + more <= purse_.rank_left[of];
  }
  std::size_t link_index(std::int32_t expert, int rank) const;
  void add_links(const flow_state& state, std::int32_t expert, std::int32_t slot,
                 link_changes& links) const;
  bool links_fit(const link_changes& links) const;
  bool within_purse(const flow_state& state, const candidate& next) const;
  std::int64_t price(const flow_state& state, const candidate& next) const;
  std::int64_t link_price(std::int32_t expert, int rank) const;
  std::int64_t link_cost(int from, int to) const;
  void estimate_equal_replacements(const flow_state& state);
  std::int64_t squares_lost_at(const flow_state& state, int rank, std::int64_t more) const;
  static void apply(flow_state& state, const candidate& next);

  const cluster_map& cluster_;
  std::span<const std::int32_t> usable_;
  const slot_layout* layout_ = nullptr;
  std::span<const std::int32_t> origin_;
  std::vector<std::vector<std::int32_t>>
      hosts_before_;  // [experts] ranks that hold it in `origin_`
  const group_homes* homes_ = nullptr;
  flow_purse purse_;
  std::int64_t target_ = 0;
  int revisions_ = 0;
  std::vector<std::pair<std::int64_t, std::int32_t>> revisable_;  // load and slot
  std::int64_t moves_ = 0;
  std::vector<std::int64_t> rank_moves_;  // as rank_left counts
  std::vector<std::int32_t> occupied_;
  std::int64_t dearest_ = 1;
  std::int64_t mean_speed_ = 1;  // as rough_speed counts

  std::vector<std::int32_t> block_of_;  // [ranks]
  std::vector<block> blocks_;
  std::vector<std::int64_t> fixed_load_;  // [ranks] -1: not known yet
  std::int32_t top_ = 0;
  std::vector<std::int32_t> sources_;   // slots of the fullest block
  std::vector<std::int32_t> targets_;   // ranks below it, emptiest first
  std::vector<std::int64_t> ceilings_;  // per target, what a swap may gain at most
  std::vector<candidate> best_;         // at most limit_, best first
  std::size_t limit_ = 0;
  std::vector<outcome> losing_;  // candidates of the last step that did not help
  flow_state before_;            // an escape
  chain_finder chains_;
  std::vector<std::int32_t> open_;  // ranks with a free usable slot
  std::vector<std::int32_t> saved_;
};

}  // namespace ballast
