#include "policies/flash_layer.hpp"

#include <algorithm>
#include <bit>
#include <numeric>

namespace ballast {

namespace {

constexpr int mean_bits = 48;   // of a layer's total
constexpr int value_bits = 42;  // of a sample's total: leaves room for even_score_

}  // namespace

void flash_layer::read(const layer_question& question) {
  read_samples(question);
  const std::size_t experts = question.loads().size();
  means_.resize(experts);
  risks_.resize(experts);
  std::uint64_t fullest = 0;
  totals_.assign(static_cast<std::size_t>(samples_), 0);
  for (std::size_t i = 0; i < pooled_.size(); ++i) {
    totals_[i / experts] += static_cast<std::uint64_t>(pooled_[i]);
    fullest = std::max(fullest, totals_[i / experts]);
  }
  const unit_scale scale(fullest, value_bits);
  values_.resize(pooled_.size());
  for (std::size_t i = 0; i < pooled_.size(); ++i) values_[i] = scale.unit(pooled_[i], 1);
  for (std::uint64_t& total : totals_) total = scale.unit(static_cast<std::int64_t>(total), 1);
  if (!varies()) {
    const unit_scale mean_scale(fullest, mean_bits);
    for (std::size_t e = 0; e < experts; ++e) {
      risks_[e] = means_[e] = static_cast<std::int64_t>(mean_scale.unit(pooled_[e], 1));
    }
    return;
  }
  // As large as samples may be, so that as little as possible is lost where a load is divided.
  const int bits = static_cast<int>(std::bit_width(fullest));
  for (std::int64_t& sample : pooled_) {
    sample = bits <= sample_bits ? sample << (sample_bits - bits) : sample >> (bits - sample_bits);
  }
  statistics_.compute(pooled_, samples_, static_cast<int>(experts));
  for (std::size_t e = 0; e < experts; ++e) {
    means_[e] = statistics_.sums()[e];
    const std::int64_t variance = statistics_.covariances(static_cast<int>(e))[e];
    risks_[e] = means_[e] + (square_root(variance) * risk_sigmas >> 16);
  }
}

void flash_layer::read_samples(const layer_question& question) {
  const int windows = question.windows();
  const std::size_t experts = question.loads().size();
  if (windows < 2) {
    samples_ = 1;
    pooled_.assign(question.loads().begin(), question.loads().end());
    return;
  }
  const int block = std::max(windows / samples_max, 1);
  samples_ = std::min(windows, samples_max);
  pooled_.assign(static_cast<std::size_t>(samples_) * experts, 0);
  std::int64_t largest = 0;
  for (int window = windows - samples_ * block; window < windows; ++window) {
    const auto loads = question.window(window);
    largest = std::max(largest, std::accumulate(loads.begin(), loads.end(), std::int64_t{0}));
  }
  // A block's sum must stay below 2^63 too.
  const int bits = static_cast<int>(std::bit_width(static_cast<std::uint64_t>(largest)) +
                                    std::bit_width(static_cast<unsigned>(block - 1)));
  const int shift = std::max(bits - 63, 0);
  for (int sample = 0; sample < samples_; ++sample) {
    for (int i = 0; i < block; ++i) {
      const auto window = question.window(windows - samples_ * block + sample * block + i);
      for (std::size_t e = 0; e < experts; ++e) pooled_[sample * experts + e] += window[e] >> shift;
    }
  }
}

std::uint64_t flash_layer::score(const slot_layout& layout,
                                 std::span<const std::int32_t> expert_of_slot,
                                 std::span<const std::int32_t> counts, int hosts) {
  const std::size_t experts = counts.size();
  sizes_.resize(experts);
  rank_loads_.resize(static_cast<std::size_t>(layout.ranks()));
  std::uint64_t sum = 0;
  for (int sample = 0; sample < samples_; ++sample) {
    const std::uint64_t* const values = values_.data() + sample * experts;
    for (std::size_t e = 0; e < experts; ++e) {
      sizes_[e] = counts[e] == 1 ? values[e] : values[e] / static_cast<std::uint64_t>(counts[e]);
    }
    std::uint64_t fullest = 0;
    for (int rank = 0; rank < layout.ranks(); ++rank) {
      std::uint64_t load = 0;
      for (int slot = layout.first(rank); slot < layout.first(rank + 1); ++slot) {
        if (expert_of_slot[slot] != no_expert) load += sizes_[expert_of_slot[slot]];
      }
      fullest = std::max(fullest, load);
    }
    const std::uint64_t mean = totals_[sample] / static_cast<std::uint64_t>(hosts);
    sum += mean == 0 ? even_score_ : fullest * even_score_ / mean;
  }
  return sum;
}

}  // namespace ballast
