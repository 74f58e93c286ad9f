// Shortest augmenting paths (Kuhn, Munkres, Jonker and Volgenant) over all pairs; rank_matching.hpp
// has the same for the few pairs that keep anything.

#include "policies/assignment.hpp"

#include <algorithm>
#include <numeric>

namespace ballast {

bool assignment_solver::solve(std::span<const std::int64_t> costs,
                              std::span<std::int32_t> place_of_item) {
  count_ = place_of_item.size();
  item_price_.assign(count_, 0);
  place_price_.assign(count_, 0);
  item_at_.assign(count_, -1);
  // Items whose cheapest place is free take it; the rest need paths.
  std::fill(place_of_item.begin(), place_of_item.end(), -1);
  for (std::size_t item = 0; item < count_; ++item) {
    const auto own = costs.subspan(item * count_, count_);
    const auto least = std::ranges::min_element(own);
    item_price_[item] = *least;
    std::int32_t& holder = item_at_[static_cast<std::size_t>(least - own.begin())];
    if (holder >= 0) continue;
    holder = static_cast<std::int32_t>(item);
    place_of_item[item] = static_cast<std::int32_t>(least - own.begin());
  }
  for (std::size_t item = 0; item < count_; ++item) {
    if (place_of_item[item] < 0) augment(costs, static_cast<std::int32_t>(item));
  }
  bool allowed = true;
  for (std::size_t place = 0; place < count_; ++place) {
    const auto item = static_cast<std::size_t>(item_at_[place]);
    place_of_item[item] = static_cast<std::int32_t>(place);
    allowed = allowed && costs[item * count_ + place] < forbidden;
  }
  return allowed;
}

void assignment_solver::augment(std::span<const std::int64_t> costs, std::int32_t item) {
  distance_.assign(count_, std::numeric_limits<std::int64_t>::max());
  came_from_.assign(count_, -1);
  settled_.assign(count_, 0);
  open_.resize(count_);
  std::iota(open_.begin(), open_.end(), 0);
  std::int32_t at = item;
  std::int32_t from = -1;
  std::int64_t length = 0;
  for (;;) {
    const std::int64_t* own = costs.data() + static_cast<std::size_t>(at) * count_;
    const std::int64_t so_far = length - item_price_[at];
    std::size_t nearest = 0;
    for (std::size_t i = 0; i < open_.size(); ++i) {
      const std::int32_t place = open_[i];
      const std::int64_t reach = so_far + own[place] - place_price_[place];
      if (reach < distance_[place]) {
        distance_[place] = reach;
        came_from_[place] = from;
      }
      if (distance_[place] < distance_[open_[nearest]]) nearest = i;
    }
    from = open_[nearest];
    length = distance_[from];
    settled_[from] = 1;
    open_[nearest] = open_.back();
    open_.pop_back();
    if (item_at_[from] < 0) break;
    at = item_at_[from];
  }
  item_price_[item] += length;
  for (std::size_t place = 0; place < count_; ++place) {
    if (!settled_[place] || item_at_[place] < 0) continue;
    item_price_[item_at_[place]] += length - distance_[place];
    place_price_[place] -= length - distance_[place];
  }
  while (from >= 0) {
    const std::int32_t before = came_from_[from];
    item_at_[from] = before >= 0 ? item_at_[before] : item;
    from = before;
  }
}

}  // namespace ballast
