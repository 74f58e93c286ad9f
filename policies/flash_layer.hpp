#pragma once
// One layer as `flash` sees it: a few samples of its loads, what they say of every expert's mean
// and variation, and how good a placement is over all of them.

#include <cstdint>
#include <span>
#include <vector>

#include "policies/layer_policy.hpp"
#include "policies/statistics.hpp"
#include "policies/units.hpp"

namespace ballast {

/// Risk is the mean plus z standard deviations: what is exceeded once in four times. z = 0.67449 of
/// a normal distribution, in 65536ths.
inline constexpr std::int64_t risk_sigmas = 44203;

class flash_layer {
 public:
  /// The series of the request in at most 64 samples: windows are summed in blocks, the newest
  /// whole ones. Without a series of two windows the loads are the one sample, and nothing varies.
  void read(const layer_question& question);

  int experts() const { return static_cast<int>(means_.size()); }
  bool varies() const { return samples_ > 1; }

  /// [experts] mean load, times the number of samples, in units of this layer; they sum to less
  /// than 2^48.
  std::span<const std::int64_t> means() const { return means_; }

  /// [experts] mean and risk_sigmas deviations, in the same units.
  std::span<const std::int64_t> risks() const { return risks_; }

  /// [experts] of `expert`, in units squared. Only where the layer varies.
  std::span<const std::int64_t> covariances(int expert) const {
    return statistics_.covariances(expert);
  }

  /// Of two placements of this layer the one with the smaller score is better: the mean over the
  /// samples of fullest rank over mean rank, as if an expert's load were split equally over its
  /// replicas. `hosts`: ranks to take the mean over. An even placement scores `even_score`.
  std::uint64_t score(const slot_layout& layout, std::span<const std::int32_t> expert_of_slot,
                      std::span<const std::int32_t> counts, int hosts);
  std::uint64_t even_score() const { return even_score_ * static_cast<std::uint64_t>(samples_); }

 private:
  void read_samples(const layer_question& question);

  static constexpr std::uint64_t even_score_ = std::uint64_t{1} << 20;

  int samples_ = 1;
  std::vector<std::int64_t> pooled_;   // [samples][experts]
  std::vector<std::uint64_t> totals_;  // [samples] of values_
  std::vector<std::uint64_t> values_;  // [samples][experts] pooled_, in units that divide well
  std::vector<std::int64_t> means_;
  std::vector<std::int64_t> risks_;
  sample_statistics statistics_;
  std::vector<std::uint64_t> sizes_;       // [experts]
  std::vector<std::uint64_t> rank_loads_;  // [ranks]
};

}  // namespace ballast
