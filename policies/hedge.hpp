#pragma once
// The last part of `flow` where it is known how loads vary: makes a layer even not only for the
// loads that are foretold but for what they may become, by splitting experts anew and by moves.
// What has just been is certain to have been: where it is known, no rank is to become fuller in it.

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "policies/flow_groups.hpp"
#include "policies/hedge_state.hpp"

namespace ballast {

/// What moves a hedge may make.
struct hedge_limits {
  std::span<const std::int32_t> usable_slots;  ///< [ranks]
  const group_homes* homes = nullptr;
  std::int64_t moves = -1;  ///< slots that receive an expert in all, what was moved before included
  /// Whether these experts ([slots]) are within all other limits; empty: they always are.
  std::function<bool(std::span<const std::int32_t>)> affordable;
};

/// Hedges one layer after another and keeps its scratch memory between them.
class hedge_search {
 public:
  /// Lowers the sum of scores of `state` by moves counted against `origin` (the experts that slots
  /// hold before anything is moved), each of which has to be worth its price, and splits all
  /// experts anew.
  void improve(hedge_state& state, std::span<const std::int32_t> origin,
               const hedge_limits& limits);

 private:
  struct candidate {
    hedge_state::score_type value = 0;
    std::int32_t from = -1;
    std::int32_t to = -1;
    bool swaps = false;
    int more = 0;  // experts that have to be received
  };

  void list_origin(const slot_layout& layout, std::span<const std::int32_t> origin, int experts);
  void rank_by_score(hedge_state& state);
  bool was_on(int rank, std::int32_t expert) const {
    return (held_before_[expert * words_ + rank / 64] >> (rank % 64) & 1) != 0;
  }
  int arrivals(const hedge_state& state, std::int32_t expert, std::int32_t slot) const;
  void choose_tops();
  candidate best_change(hedge_state& state);
  void consider(const hedge_state& state, std::int32_t from, std::int32_t to, bool swaps,
                candidate& best);
  void try_promising(hedge_state& state, candidate& best);
  hedge_state::score_type estimate(const hedge_state& state, const candidate& next) const;
  hedge_state::score_type estimate_swap(const hedge_state& state, const candidate& next) const;
  hedge_state::score_type estimate_replica(const hedge_state& state, const candidate& next) const;
  static bool are_single(const hedge_state& state, std::int32_t from, std::int32_t to);
  bool may_win(const hedge_state& state, std::int32_t from, std::int32_t to, bool swaps, int more,
               const candidate& best) const;
  static hedge_state::score_type worth(hedge_state::score_type gain, int more);
  static void apply(hedge_state& state, const candidate& next);

  hedge_limits limits_;
  bool even_ = true;  // all ranks have the same speed
  std::int64_t moves_ = 0;
  std::size_t words_ = 1;
  std::vector<std::uint64_t> held_before_;  // [experts, words] a bit per rank
  std::vector<std::int32_t> occupied_;      // [ranks]
  std::vector<std::int32_t> order_;         // [ranks] highest score first
  std::vector<std::int64_t> risks_;
  std::vector<std::uint8_t> stuck_;              // [ranks] nothing helps it, as far as is known
  std::vector<std::size_t> tops_;                // places in order_
  std::vector<hedge_state::score_type> scores_;  // [ranks]
  std::vector<candidate> promising_;  // changes of experts with other replicas, by their estimates
  std::vector<std::uint8_t> closed_;  // [ranks] can receive nothing more
};

}  // namespace ballast
