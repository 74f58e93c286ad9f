// What a hedge_state knows of the newest loads. They are certain to have been, so what ranks carry
// of them is not weighed against risk: up to a ceiling it costs nothing, above it much.

#include <algorithm>

#include "policies/hedge_state.hpp"

namespace ballast {

namespace {

constexpr std::int64_t unit = std::int64_t{1} << hedge_state::unit_bits;
constexpr std::int64_t level_max = std::int64_t{1} << 60;
constexpr int share_bits = 16;
// The ceiling is at least so many parts above the mean.
constexpr std::int64_t slack_parts_of_mean = 32;
// In scores what is above the ceiling weighs so many times what is above the base.
constexpr int over_weight = 64;
constexpr int score_shift = 6;
constexpr std::int64_t excess_max = std::int64_t{1} << 30;
// In slopes so much that the ceiling gives way by a few thousandths.
constexpr int slope_shift = 8;
constexpr int over_slope_shift = 18;
constexpr std::int64_t over_max = std::int64_t{1} << 18;
constexpr std::int64_t weight_max = std::int64_t{1} << 21;

}  // namespace

/// The ceiling is as good as none before it is set.
void hedge_state::scale_newest(const varying_loads& expected) {
  ceiling_ = level_max;
  newest_total_ = 0;
  for (const std::int64_t load : expected.newest) newest_total_ += load;
  newest_weight_.assign(expected.loads.size(), 0);
  if (newest_total_ == 0) return;
  for (std::size_t expert = 0; expert < expected.newest.size(); ++expert) {
    newest_weight_[expert] = static_cast<std::int64_t>(
        static_cast<score_type>(expected.newest[expert]) * hosts_ * unit / newest_total_);
  }
}

void hedge_state::set_ceiling(scaled_load fullest, std::int64_t slack_parts) {
  if (newest_total_ == 0) return;
  constexpr int spare = 4;  // bits, so that the product fits
  const scaled_load level =
      (fullest >> spare) * hosts_ * unit / newest_total_ >> (share_bits - spare);
  const auto reached = static_cast<std::int64_t>(std::min<scaled_load>(level, level_max / 2));
  ceiling_ = std::max(reached + reached / slack_parts, unit + unit / slack_parts_of_mean);
}

std::int64_t hedge_state::newest_level(int rank, std::int64_t newest) const {
  const std::int64_t level = newest >> share_bits;
  if (slowness_[rank] == (std::int64_t{1} << share_bits)) return level;
  const score_type slowed = static_cast<score_type>(level) * slowness_[rank] >> share_bits;
  return static_cast<std::int64_t>(std::min<score_type>(slowed, level_max));
}

hedge_state::score_type hedge_state::score_over(std::int64_t newest) const {
  const std::int64_t over =
      std::clamp<std::int64_t>((newest - ceiling_) >> score_shift, 0, excess_max);
  return static_cast<score_type>(over * over) * over_weight;
}

void hedge_state::slope_over(int rank, std::int32_t expert, slope& result) const {
  const std::int64_t over = std::min((newest(rank) - ceiling_) >> slope_shift, over_max);
  if (over <= 0) return;
  const std::int64_t weight = std::min(newest_weight_[expert] >> slope_shift, weight_max);
  result.over_first = (over * weight) << over_slope_shift;
  result.over_second = (weight * weight) << over_slope_shift;
}

}  // namespace ballast
