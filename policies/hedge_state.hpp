#pragma once
// One layer's rank loads with what they may become: of every rank the load that is foretold, and
// how past deviations from forecasts, laid upon what it holds now, would add up there.

#include <algorithm>
#include <cstdint>
#include <span>
#include <vector>

#include "policies/placement.hpp"
#include "policies/speeds.hpp"

namespace ballast {

/// The smallest whole number whose square is not above `value`.
std::int64_t square_root(std::int64_t value);

/// What one layer's experts are foretold to receive, and samples of how far off that may be.
struct varying_loads {
  std::span<const std::int64_t> loads;       ///< [experts]
  std::span<const std::int64_t> deviations;  ///< sample k of expert e at k * stride + e
  int samples = 0;                           ///< 0: nothing is known of how they vary
  std::size_t stride = 0;
  std::span<const std::int64_t> newest;  ///< [experts] the loads that came last; empty: not known
};

/// Loads here are in units in which the mean rank carries 2^20. A rank is judged by its *risk*:
/// load + variance / (2 spread / z), where the spread is that of a typical rank of the start, so
/// that about a typical rank variance counts as z standard deviations would. The fullest of R
/// equal ranks exceeds its mean by z = sqrt(2 ln R) of them.
///
/// The newest loads, where known, are certain, unlike what is foretold: beside its risk a rank is
/// judged by how far it is above a ceiling in them.
///
/// The variance of a rank is taken from the samples as far as they show experts that rise and fall
/// together, and for the rest from experts that vary alike, in proportion to their load, and
/// independently: few samples say much about the first only if it is strong.
class hedge_state {
 public:
  static constexpr int unit_bits = 20;
  __extension__ typedef __int128 score_type;

  /// Takes over a placement. `hosts`: ranks that may hold experts. False if there is nothing to
  /// hedge: one host, no load or no deviation.
  bool start(const varying_loads& expected, const slot_layout& layout, const speed_scale& speeds,
             int hosts, std::span<const std::int32_t> expert_of_slot,
             std::span<const std::int32_t> share_of_slot);

  const slot_layout& layout() const { return *layout_; }
  std::int32_t expert(std::int32_t slot) const { return expert_[slot]; }
  std::span<const std::int32_t> experts() const { return expert_; }
  std::span<const std::int32_t> shares() const { return share_; }
  std::span<const std::int32_t> slots_of(std::int32_t expert) const { return slots_[expert]; }
  bool even() const {
    return std::ranges::all_of(slowness_, [](auto part) { return part == 1 << 16; });
  }
  bool holds(int rank, std::int32_t expert) const;

  std::int64_t risk(int rank) const;
  std::int64_t load(int rank) const { return load_[rank] >> 16; }
  std::int64_t flow(std::int32_t slot) const { return weight_[expert_[slot]] * share_[slot] >> 16; }
  /// What a rank's risk has of the expert's own variance if it carries one of `parts` equal parts.
  std::int64_t own_risk(std::int32_t expert, std::int64_t parts) const {
    return bend_[expert] / (2 * parts * parts);
  }
  std::int64_t weight(std::int32_t expert) const { return weight_[expert]; }
  /// What a rank carries of the newest loads, and what a slot and an expert have of them.
  std::int64_t newest(int rank) const { return newest_level(rank, newest_[rank]); }
  std::int64_t newest_flow(std::int32_t slot) const {
    return newest_weight_[expert_[slot]] * share_[slot] >> 16;
  }
  /// The square of its excess over the base, in units of 2^-28 mean loads squared, and many times
  /// that of the newest loads over the ceiling.
  score_type score(int rank) const { return score_at(risk(rank), newest(rank)); }
  /// What it would be at this risk and with so much of the newest loads (without speeds).
  score_type score_at(std::int64_t risk, std::int64_t newest) const;

  /// What scores are measured from; not below the mean load.
  void set_base(std::int64_t level) { base_ = std::max(level, std::int64_t{1} << unit_bits); }
  /// What ranks should not carry more than of the newest loads: one part in `slack_parts` above
  /// `fullest`, the fullest rank's load (1/65536 token), or little above the mean. Without this
  /// call, or newest loads, there is none.
  void set_ceiling(scaled_load fullest, std::int64_t slack_parts);
  /// The highest load plus z standard deviations of any rank, in 1/65536 token.
  scaled_load highest() const;

  /// Gives the expert of slot `from` a replica in slot `to`, whose own expert (with other replicas,
  /// or none) leaves; or swaps the two. Then splits both experts anew.
  void replace(std::int32_t from, std::int32_t to);
  void swap(std::int32_t a, std::int32_t b);

  /// Splits every replicated expert anew.
  void split_all();

  /// What `gain` would be after a swap of two experts without other replicas.
  score_type gain_of_swap(std::int32_t a, std::int32_t b) const;

  /// What the change that follows brings is undone by `roll_back`.
  void begin_trial(std::int32_t slot, std::int32_t other);
  /// By how much the change has lowered the sum of scores.
  score_type gain() const;
  void roll_back();

 private:
  struct slope {
    std::int64_t risk = 1;   // of the slot's rank
    std::int64_t first = 0;  // of risk^4 by the slot's share
    std::int64_t second = 0;
    std::int64_t over_first = 0;  // the same of what is above the ceiling
    std::int64_t over_second = 0;
  };
  struct kept_slot {
    std::int32_t slot;
    std::int32_t expert;
    std::int32_t share;
  };

  void scale(const varying_loads& expected);
  void weigh_samples();
  std::int64_t variance(std::int64_t squares, std::int64_t alone) const {
    return (squares >> 16) * together_part_ + alone / 16 * independent_;
  }
  std::int64_t variance(int rank) const;
  std::int64_t per_variance(std::int64_t variance) const {
    return static_cast<std::int64_t>(static_cast<score_type>(variance) * per_variance_ >> 40);
  }
  std::int64_t risk_at(int rank, std::int64_t load, std::int64_t variance) const;
  void scale_newest(const varying_loads& expected);
  std::int64_t newest_level(int rank, std::int64_t newest) const;
  score_type score_over(std::int64_t newest) const;
  void slope_over(int rank, std::int32_t expert, slope& result) const;
  void set_share(std::int32_t slot, std::int32_t share);
  void put(std::int32_t slot, std::int32_t expert);
  void leave(std::int32_t slot);
  void split(std::int32_t expert);
  slope slope_of(std::int32_t slot) const;
  void keep_rank(int rank);
  void keep_expert(std::int32_t expert);

  const slot_layout* layout_ = nullptr;
  int hosts_ = 1;
  std::int64_t base_ = std::int64_t{1} << unit_bits;  // of scores
  std::int64_t ceiling_ = 0;                          // of the newest loads
  int samples_ = 0;
  scaled_load total_ = 0;           // tokens
  scaled_load newest_total_ = 0;    // tokens
  std::int64_t z_ = 0;              // in 1/1024
  std::int64_t per_variance_ = 0;   // z / (2 spread), in 2^-40
  std::int64_t together_part_ = 0;  // of squares summed over samples, in 2^-16
  std::int64_t independent_ = 16;   // sixteenths of the variance taken from experts by themselves
  std::vector<std::int64_t> slowness_;            // [ranks] level over load, in 1/65536
  std::vector<std::int64_t> weight_;              // [experts]
  std::vector<std::int64_t> newest_weight_;       // [experts]
  std::vector<std::int64_t> bend_;                // [experts] second derivative of risk by share
  std::vector<std::int64_t> spread_;              // [experts] standard deviation
  std::vector<std::int32_t> sample_;              // [experts, samples]
  std::vector<std::int32_t> expert_;              // [slots]
  std::vector<std::int32_t> share_;               // [slots]
  std::vector<std::vector<std::int32_t>> slots_;  // [experts]
  std::vector<std::int64_t> load_;                // [ranks] in 1/65536 units
  std::vector<std::int64_t> newest_;              // [ranks] in 1/65536 units
  std::vector<std::int64_t> alone_;               // [ranks] sum of squared spreads
  std::vector<std::int64_t> together_;            // [ranks, samples] in 1/65536 units
  mutable std::vector<std::int64_t> known_risk_;  // [ranks] -1: not since the rank changed

  std::vector<slope> slopes_;
  std::vector<kept_slot> kept_slots_;
  std::vector<std::int32_t> kept_experts_;
  std::vector<std::vector<std::int32_t>> kept_lists_;
  std::vector<std::int32_t> kept_ranks_;
  std::vector<std::int64_t> kept_values_;  // per kept rank: load, alone, risk, newest, together
};

}  // namespace ballast
