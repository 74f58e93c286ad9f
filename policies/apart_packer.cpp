#include "policies/apart_packer.hpp"

#include <algorithm>

#include "policies/placement.hpp"

namespace ballast {

namespace {

constexpr int swaps_max = 8;

/// No packing of these replicas has a fullest rank below this. One holds the heaviest. And of the
/// ranks + 1 heaviest two share a rank, of different items: at least the lightest two of these,
/// and, where all places are taken, as many of the very lightest as there are places left.
std::uint64_t least_maximum(std::span<const std::int32_t> capacity,
                            std::span<const std::int32_t> order,
                            std::span<const std::int32_t> counts,
                            std::span<const std::uint64_t> units) {
  const std::uint64_t heaviest = units[order[0]];
  std::int64_t places = 0;
  for (const std::int32_t slots : capacity) places += slots;
  const std::int32_t narrowest = *std::min_element(capacity.begin(), capacity.end());
  std::size_t last = 0;
  std::int64_t replicas = 0;
  while (last < order.size() && replicas + counts[order[last]] <= std::ssize(capacity)) {
    replicas += counts[order[last++]];
  }
  if (last == 0 || last == order.size()) return heaviest;
  std::uint64_t sum = units[order[last - 1]] + units[order[last]];
  for (std::size_t i = last; i < order.size(); ++i) replicas += counts[order[i]];
  std::int64_t left = replicas == places ? narrowest - 2 : 0;
  for (std::size_t i = order.size(); i > 0 && left > 0; --i) {
    const std::int64_t taken = std::min<std::int64_t>(left, counts[order[i - 1]]);
    sum += static_cast<std::uint64_t>(taken) * units[order[i - 1]];
    left -= taken;
  }
  return std::max(heaviest, sum);
}

}  // namespace

void apart_packer::pack(std::span<const std::int32_t> capacity, std::span<const std::int32_t> first,
                        std::span<const std::int32_t> order, std::span<const std::int32_t> counts,
                        std::span<const std::uint64_t> units,
                        std::span<std::int32_t> item_of_place) {
  packer_.start(capacity, first, item_of_place);
  packer_.add_in_order(order, counts, units);
  smoother_.start(packer_.packed(units));
  const std::uint64_t published = smoother_.heaviest_load();
  if (!smoother_.separate(packer_.met())) {
    for (std::size_t rank = 0; rank < capacity.size(); ++rank) {
      std::fill_n(item_of_place.begin() + first[rank], capacity[rank], no_expert);
    }
    packer_.start(capacity, first, item_of_place);
    for (const std::int32_t item : order) packer_.add_apart(item, counts[item], units);
    smoother_.start(packer_.packed(units));
  }
  // A search through a large layout would take long; its items are small and lie evenly without.
  constexpr std::size_t pairs_max = std::size_t{1} << 20;
  const auto widest = static_cast<std::size_t>(*std::max_element(capacity.begin(), capacity.end()));
  if (widest * item_of_place.size() > pairs_max) return;
  smoother_.smooth(swaps_max, least_maximum(capacity, order, counts, units), published);
}

}  // namespace ballast
