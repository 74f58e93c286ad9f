#include "policies/count_search.hpp"

#include <algorithm>
#include <limits>
#include <numeric>
#include <utility>

#include "policies/balance.hpp"
#include "policies/spread_rule.hpp"

namespace ballast {

namespace {

struct phase {
  int hottest;  // experts whose counts are searched
  int rounds;
  int swaps;  // after each packing
};

// First by plain packings, which are quick, then finer, each packing evened out by swaps.
constexpr phase phases[] = {{16, 3, 0}, {8, 2, 64}};
constexpr std::int32_t steps[] = {1, 2, 3, 4, 5, 6, 8, 10, 12, 16, 20, 24, 32, 40, 48, 64, 96};

}  // namespace

count_search::count_search(std::span<const std::int32_t> capacity) : capacity_(capacity) {
  hosts_ = static_cast<std::int32_t>(
      std::ranges::count_if(capacity, [](std::int32_t slots) { return slots > 0; }));
}

void count_search::place(std::span<const std::int64_t> loads, const slot_layout& layout,
                         std::int64_t enough, std::span<std::int32_t> expert_of_slot) {
  loads_ = loads;
  best_ = expert_of_slot;
  const auto sum = std::accumulate(loads.begin(), loads.end(), std::int64_t{0});
  scale_ = unit_scale(static_cast<std::uint64_t>(sum),
                      rank_packer::unit_bits(static_cast<int>(capacity_.size())));
  enough_ = scale_.unit(enough, 1);
  units_.resize(loads.size());
  counted_.assign(loads.size(), 0);
  packed_.resize(expert_of_slot.size());
  first_.clear();
  for (int rank = 0; rank < layout.ranks(); ++rank) first_.push_back(layout.first(rank));
  by_load_.resize(loads.size());
  std::iota(by_load_.begin(), by_load_.end(), 0);
  std::stable_sort(by_load_.begin(), by_load_.end(),
                   [&](std::int32_t a, std::int32_t b) { return loads[a] > loads[b]; });
  pins_.assign(loads.size(), 0);
  order_ = by_load_;
  fullest_ = std::numeric_limits<std::uint64_t>::max();
  for (const phase& now : phases) {
    swaps_ = now.swaps;
    searched_at_.assign(loads.size(), -1);
    try_counts();
    for (int round = 0; round < now.rounds && fullest_ > enough_ && descend(now.hottest); ++round) {
    }
  }
}

/// Other counts for one expert after another; whether any made a better packing.
bool count_search::descend(int hottest) {
  bool better = false;
  const std::size_t tried = std::min(static_cast<std::size_t>(hottest), by_load_.size());
  for (const std::int32_t expert : std::span(by_load_).first(tried)) {
    if (fullest_ <= enough_) return better;
    // What it was searched with last time would only be tried again.
    if (std::exchange(searched_at_[expert], changes_) == changes_) continue;
    choose_counts();
    const std::int32_t middle = counts_[expert];
    const std::int32_t before = pins_[expert];
    std::int32_t kept = before;
    for (const std::int32_t step : steps) {
      for (const std::int32_t count : {middle - step, middle + step}) {
        if (count < 1 || count > hosts_ || scale_.unit(loads_[expert], count) >= fullest_) continue;
        pins_[expert] = count;
        if (!try_counts()) continue;
        kept = count;
        better = true;
      }
    }
    pins_[expert] = kept;
    if (kept != before) ++changes_;
  }
  return better;
}

/// Whether they make the best packing so far; keeps it then.
bool count_search::try_counts() {
  if (!choose_counts()) return false;
  sort_by_units();
  return least_fullest() < fullest_ && pack();
}

/// The pinned counts, and for the other experts what is left as the greedy would. False where the
/// pinned ones cannot be placed.
bool count_search::choose_counts() {
  spread_rule rule(capacity_, static_cast<int>(loads_.size()));
  std::int64_t left = rule.total() - static_cast<std::int64_t>(loads_.size());
  counts_.assign(loads_.size(), 1);
  for (const std::int32_t expert : by_load_) {
    while (counts_[expert] < pins_[expert]) {
      if (left == 0 || !rule.grow(counts_[expert])) return false;
      ++counts_[expert];
      --left;
    }
  }
  const auto after = [&](std::int32_t a, std::int32_t b) {
    const scaled_load one = static_cast<scaled_load>(loads_[a]) * counts_[b];
    const scaled_load other = static_cast<scaled_load>(loads_[b]) * counts_[a];
    return one != other ? one < other : a > b;
  };
  heap_.clear();
  for (const std::int32_t expert : by_load_) {
    if (pins_[expert] == 0) heap_.push_back(expert);
  }
  // Hottest first, which is a heap.
  while (left > 0 && !heap_.empty()) {
    std::pop_heap(heap_.begin(), heap_.end(), after);
    const std::int32_t expert = heap_.back();
    if (rule.grow(counts_[expert])) {
      ++counts_[expert];
      --left;
      std::push_heap(heap_.begin(), heap_.end(), after);
    } else {
      heap_.pop_back();
    }
  }
  return true;
}

/// Counts change little from one try to the next, and so does the order.
void count_search::sort_by_units() {
  for (std::size_t expert = 0; expert < loads_.size(); ++expert) {
    if (counted_[expert] == counts_[expert]) continue;
    counted_[expert] = counts_[expert];
    units_[expert] = scale_.unit(loads_[expert], counts_[expert]);
  }
  for (std::size_t i = 1; i < order_.size(); ++i) {
    const std::int32_t expert = order_[i];
    const std::uint64_t unit = units_[expert];
    std::size_t at = i;
    for (; at > 0; --at) {
      const std::int32_t other = order_[at - 1];
      if (units_[other] > unit || (units_[other] == unit && other < expert)) break;
      order_[at] = other;
    }
    order_[at] = expert;
  }
}

/// No packing makes the fullest rank lighter: of k replicas more than k - 1 times the ranks, k lie
/// on one.
std::uint64_t count_search::least_fullest() const {
  std::uint64_t least = 0;
  std::uint64_t together = 1;
  std::int64_t before = 0;
  for (const std::int32_t expert : order_) {
    before += counts_[expert];
    for (; before > (static_cast<std::int64_t>(together) - 1) * hosts_; ++together) {
      least = std::max(least, together * units_[expert]);
    }
  }
  return least;
}

/// The heaviest replica first to the lightest rank. Keeps the packing if it is the best so far.
bool count_search::pack() {
  std::ranges::fill(packed_, no_expert);
  packer_.start(capacity_, first_, packed_);
  for (const std::int32_t expert : order_) {
    // Only swaps could make up for a rank that comes to more than the fullest of the best.
    if (swaps_ == 0 && packer_.lightest_load() + units_[expert] >= fullest_) return false;
    packer_.add_apart(expert, counts_[expert], units_);
  }
  const packed_ranks packed = packer_.packed(units_);
  if (swaps_ > 0) {
    smoother_.start(packed);
    smoother_.smooth(swaps_, 0, 0);
  }
  const std::uint64_t fullest = std::ranges::max(packed.load);
  if (fullest >= fullest_) return false;
  fullest_ = fullest;
  std::ranges::copy(packed_, best_.begin());
  return true;
}

}  // namespace ballast
