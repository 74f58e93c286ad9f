// A radix sort by 16 bits of each load's difference to the smallest: where its leading one is and
// the ten bits after that. Two passes so do for loads of any size, and both spread them over many
// buckets. Loads that agree in those bits, to a thousandth that is, are put right by insertion.

#include "policies/load_sorter.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <utility>

namespace ballast {

namespace {

constexpr int mantissa_bits = 10;
constexpr int index_bits = 32;

/// Below 2^16, monotone: x itself where it is below 2^11.
std::uint64_t key_of(std::uint64_t x) {
  const int width = static_cast<int>(std::bit_width(x | 1));
  const int shift = std::max(width - 1 - mantissa_bits, 0);
  return (static_cast<std::uint64_t>(shift) << mantissa_bits) + (x >> shift);
}

}  // namespace

std::span<const std::int32_t> load_sorter::sort(std::span<const std::int64_t> loads) {
  order_.resize(loads.size());
  if (loads.empty()) return order_;
  sort_by_keys(loads, *std::min_element(loads.begin(), loads.end()));
  if (!mend(loads)) {
    std::sort(order_.begin(), order_.end(), [&](std::int32_t a, std::int32_t b) {
      return loads[a] != loads[b] ? loads[a] > loads[b] : a < b;
    });
  }
  return order_;
}

void load_sorter::sort_by_keys(std::span<const std::int64_t> loads, std::int64_t least) {
  const std::size_t size = loads.size();
  entries_.resize(size);
  scratch_.resize(size);
  std::array<std::uint32_t, 256> low{};
  std::array<std::uint32_t, 256> high{};
  for (std::size_t i = 0; i < size; ++i) {
    const std::uint64_t key = 0xffff - key_of(static_cast<std::uint64_t>(loads[i] - least));
    entries_[i] = key << index_bits | i;
    ++low[key & 255];
    ++high[key >> 8];
  }
  std::uint32_t before_low = 0;
  std::uint32_t before_high = 0;
  for (std::size_t digit = 0; digit < 256; ++digit) {
    before_low += std::exchange(low[digit], before_low);
    before_high += std::exchange(high[digit], before_high);
  }
  for (const std::uint64_t entry : entries_) scratch_[low[entry >> index_bits & 255]++] = entry;
  for (const std::uint64_t entry : scratch_) entries_[high[entry >> (index_bits + 8)]++] = entry;
  for (std::size_t i = 0; i < size; ++i) order_[i] = static_cast<std::int32_t>(entries_[i]);
}

/// Orders what has the same key. False, with the order in disarray, where that takes long.
bool load_sorter::mend(std::span<const std::int64_t> loads) {
  std::size_t steps_left = 8 * order_.size();
  for (std::size_t i = 1; i < order_.size(); ++i) {
    if (entries_[i - 1] >> index_bits != entries_[i] >> index_bits) continue;
    const std::int32_t index = order_[i];
    std::size_t at = i;
    // The passes were stable: among equal loads the lower index is first already.
    for (; at > 0 && loads[order_[at - 1]] < loads[index]; --at) {
      order_[at] = order_[at - 1];
      if (--steps_left == 0) {
        order_[at - 1] = index;
        return false;
      }
    }
    order_[at] = index;
  }
  return true;
}

}  // namespace ballast
