#include "policies/flash_packer.hpp"

#include <algorithm>
#include <limits>
#include <numeric>

namespace ballast {

void flash_packer::start(const flash_layer& layer, const slot_layout& layout) {
  layer_ = &layer;
  layout_ = &layout;
  first_.resize(static_cast<std::size_t>(layout.ranks()));
  for (int rank = 0; rank < layout.ranks(); ++rank) first_[rank] = layout.first(rank);
  const auto means = layer.means();
  by_mean_.resize(means.size());
  std::iota(by_mean_.begin(), by_mean_.end(), 0);
  std::stable_sort(by_mean_.begin(), by_mean_.end(),
                   [&](std::int32_t a, std::int32_t b) { return means[a] > means[b]; });
}

/// By mean / count descending, then index: those of one replica are in order already.
void flash_packer::order_by_mean(std::span<const std::int32_t> counts) {
  const auto means = layer_->means();
  counts_.assign(counts.begin(), counts.end());
  const auto heavier = [&](std::int32_t a, std::int32_t b) {
    const std::int64_t left = means[a] * counts_[b];  // below 2^48 * 2^14
    const std::int64_t right = means[b] * counts_[a];
    return left != right ? left > right : a < b;
  };
  grown_.clear();
  for (const std::int32_t expert : by_mean_) {
    if (counts_[expert] > 1) grown_.push_back(expert);
  }
  std::sort(grown_.begin(), grown_.end(), heavier);
  order_.clear();
  auto next = grown_.begin();
  for (const std::int32_t expert : by_mean_) {
    if (counts_[expert] > 1) continue;
    while (next != grown_.end() && heavier(*next, expert)) order_.push_back(*next++);
    order_.push_back(expert);
  }
  order_.insert(order_.end(), next, grown_.end());
  units_.resize(means.size());
  parts_.resize(means.size());
  for (std::size_t e = 0; e < means.size(); ++e) {
    parts_[e] = (std::int64_t{1} << part_bits) / counts_[e];
    units_[e] = static_cast<std::uint64_t>(counts_[e] == 1 ? means[e] : means[e] / counts_[e]);
  }
}

void flash_packer::pack_by_mean(std::span<const std::int32_t> counts,
                                std::span<std::int32_t> expert_of_slot) {
  order_by_mean(counts);
  std::fill(expert_of_slot.begin(), expert_of_slot.end(), no_expert);
  packer_.start(capacity_, first_, expert_of_slot);
  for (const std::int32_t expert : order_) packer_.add_apart(expert, counts_[expert], units_);
}

bool flash_packer::pack(std::span<const std::int32_t> counts,
                        std::span<std::int32_t> expert_of_slot) {
  if (!layer_->varies()) {
    pack_by_mean(counts, expert_of_slot);
    return true;
  }
  order_by_mean(counts);
  std::fill(expert_of_slot.begin(), expert_of_slot.end(), no_expert);
  ranks_.assign(capacity_.size(), {});
  open_.clear();
  for (int rank = 0; rank < layout_->ranks(); ++rank) {
    if (capacity_[rank] > 0) open_.push_back(rank);
  }
  for (const std::int32_t expert : order_) {
    for (std::int32_t replica = 0; replica < counts_[expert]; ++replica) {
      if (!place(expert, expert_of_slot) && !make_way(expert, expert_of_slot)) return false;
    }
  }
  return true;
}

/// On the rank of least risk with room that does not hold the expert, the lowest among equals. A
/// rank whose mean alone is above the best risk found so far needs no look at its variance, and one
/// whose variance is surely too large no root.
bool flash_packer::place(std::int32_t expert, std::span<std::int32_t> expert_of_slot) {
  const auto size = static_cast<std::int64_t>(units_[expert]);
  int best = -1;
  std::int64_t best_risk = std::numeric_limits<std::int64_t>::max();
  std::int64_t best_variance = 0;
  for (const std::int32_t rank : open_) {
    const std::int64_t mean = ranks_[rank].mean + size;
    if (mean > best_risk) break;
    if (ranks_[rank].last_expert == expert) continue;
    const std::int64_t variance = variance_with(rank, expert, expert_of_slot);
    if (best >= 0) {
      // Deviations of at least `root` make the risk larger than the best: 97165 / 65536 > 1 / z.
      const std::int64_t root = ((best_risk - mean + 1) * 97165 >> 16) + 1;
      if (variance >= root * root) continue;
    }
    const std::int64_t risk = mean + (square_root(variance) * risk_sigmas >> 16);
    if (risk > best_risk || (risk == best_risk && rank > best)) continue;
    best = rank;
    best_risk = risk;
    best_variance = variance;
  }
  if (best < 0) return false;
  rank_state& state = ranks_[best];
  expert_of_slot[first_[best] + state.held++] = expert;
  state.mean += size;
  state.variance = best_variance;
  state.last_expert = expert;
  reopen(best);
  return true;
}

/// Puts a rank that got heavier in its place among the open ones, or closes it.
void flash_packer::reopen(int rank) {
  auto at = std::find(open_.begin(), open_.end(), rank);
  if (ranks_[rank].held >= capacity_[rank]) {
    open_.erase(at);
    return;
  }
  for (; at + 1 != open_.end() && ranks_[at[1]].mean < ranks_[rank].mean; ++at) at[0] = at[1];
  *at = rank;
}

/// Every rank with room holds the expert: one of a full rank that does not hold it moves to one
/// with room and leaves its place, such that the heavier of the two ranks comes out lightest. With
/// equal capacities there always is one (packer.cpp has the proof).
bool flash_packer::make_way(std::int32_t expert, std::span<std::int32_t> expert_of_slot) {
  const auto size = static_cast<std::int64_t>(units_[expert]);
  int best_to = -1;
  int best_from = -1;
  std::int32_t best_slot = -1;
  std::int64_t best_mean = std::numeric_limits<std::int64_t>::max();
  for (int to = 0; to < layout_->ranks(); ++to) {
    if (ranks_[to].held >= capacity_[to]) continue;
    for (int from = 0; from < layout_->ranks(); ++from) {
      if (from == to || ranks_[from].held == 0 || ranks_[from].last_expert == expert) continue;
      for (int slot = first_[from]; slot < first_[from] + ranks_[from].held; ++slot) {
        const std::int32_t moved = expert_of_slot[slot];
        const auto moved_size = static_cast<std::int64_t>(units_[moved]);
        const std::int64_t mean =
            std::max(ranks_[to].mean + moved_size, ranks_[from].mean - moved_size + size);
        if (mean >= best_mean || holds(to, moved, expert_of_slot)) continue;
        best_to = to;
        best_from = from;
        best_slot = slot;
        best_mean = mean;
      }
    }
  }
  if (best_slot < 0) return false;
  expert_of_slot[first_[best_to] + ranks_[best_to].held++] = expert_of_slot[best_slot];
  expert_of_slot[best_slot] = expert;
  ranks_[best_from].last_expert = expert;
  weigh(best_to, expert_of_slot);
  weigh(best_from, expert_of_slot);
  reopen(best_to);
  return true;
}

/// Not below zero, where rounding would make it so.
std::int64_t flash_packer::variance_with(int rank, std::int32_t expert,
                                         std::span<const std::int32_t> expert_of_slot) const {
  const auto covariances = layer_->covariances(expert);
  std::int64_t with_others = 0;
  for (int slot = first_[rank]; slot < first_[rank] + ranks_[rank].held; ++slot) {
    const std::int32_t other = expert_of_slot[slot];
    with_others += part(covariances[other], other);
  }
  const std::int64_t own = part(covariances[expert], expert);
  return std::max<std::int64_t>(ranks_[rank].variance + part(own + 2 * with_others, expert), 0);
}

void flash_packer::weigh(int rank, std::span<const std::int32_t> expert_of_slot) {
  const std::int32_t held = ranks_[rank].held;
  ranks_[rank].mean = ranks_[rank].variance = 0;
  for (ranks_[rank].held = 0; ranks_[rank].held < held; ++ranks_[rank].held) {
    const std::int32_t expert = expert_of_slot[first_[rank] + ranks_[rank].held];
    ranks_[rank].mean += static_cast<std::int64_t>(units_[expert]);
    ranks_[rank].variance = variance_with(rank, expert, expert_of_slot);
  }
}

bool flash_packer::holds(int rank, std::int32_t expert,
                         std::span<const std::int32_t> expert_of_slot) const {
  const auto held = expert_of_slot.subspan(first_[rank], ranks_[rank].held);
  return std::find(held.begin(), held.end(), expert) != held.end();
}

}  // namespace ballast
