// A tournament over the ranks finds the lightest: leaf r holds load << rank_bits | r, or `closed`
// where r takes nothing more, and every inner node holds the smaller of its two. Adding an item
// replays one path from leaf to root, without a branch that depends on the data.

#include "policies/packer.hpp"

#include <algorithm>
#include <bit>
#include <limits>
#include <numeric>
#include <stdexcept>

namespace ballast {

namespace {

constexpr std::uint64_t closed = std::numeric_limits<std::uint64_t>::max();

}  // namespace

int rank_packer::unit_bits(int ranks) {
  return 63 - static_cast<int>(std::bit_width(static_cast<unsigned>(std::max(ranks, 1) - 1)));
}

void rank_packer::start(std::span<const std::int32_t> capacity, std::span<const std::int32_t> first,
                        std::span<std::int32_t> item_of_place) {
  capacity_ = capacity;
  first_ = first;
  item_of_place_ = item_of_place;
  load_.assign(capacity.size(), 0);
  held_.assign(capacity.size(), 0);
  masked_.assign(capacity.size(), 0);
  rank_bits_ = 63 - unit_bits(ranks());
  leaves_ = std::bit_ceil(capacity.size());
  tree_.assign(2 * leaves_, closed);
  for (int rank = 0; rank < ranks(); ++rank) {
    if (is_open(rank)) tree_[leaves_ + rank] = static_cast<std::uint64_t>(rank);
  }
  for (std::size_t node = leaves_ - 1; node > 0; --node) {
    tree_[node] = std::min(tree_[2 * node], tree_[2 * node + 1]);
  }
}

inline void rank_packer::refresh(int rank) {
  std::size_t node = leaves_ + static_cast<std::size_t>(rank);
  std::uint64_t key =
      is_open(rank) ? load_[rank] << rank_bits_ | static_cast<std::uint64_t>(rank) : closed;
  tree_[node] = key;
  for (; node > 1; node /= 2) {
    key = std::min(key, tree_[node ^ 1]);
    tree_[node / 2] = key;
  }
}

inline std::int32_t rank_packer::append(int rank, std::int32_t item, std::uint64_t unit) {
  const std::int32_t place = first_[rank] + held_[rank]++;
  item_of_place_[place] = item;
  load_[rank] += unit;
  return place;
}

std::int32_t rank_packer::add(std::int32_t item, std::uint64_t unit) {
  const int rank = static_cast<int>(tree_[1] & ((std::uint64_t{1} << rank_bits_) - 1));
  const std::int32_t place = append(rank, item, unit);
  refresh(rank);
  return place;
}

inline void rank_packer::mask(int rank) {
  masked_[rank] = 1;
  masked_ranks_.push_back(rank);
  refresh(rank);
}

void rank_packer::add_apart(std::int32_t item, std::int32_t count,
                            std::span<const std::uint64_t> units) {
  if (count == 1 && tree_[1] != closed) {
    add(item, units[item]);
    return;
  }
  for (; count > 0; --count) {
    if (tree_[1] == closed) {
      make_way(item, units);
      continue;
    }
    const int rank = static_cast<int>(tree_[1] & ((std::uint64_t{1} << rank_bits_) - 1));
    append(rank, item, units[item]);
    mask(rank);
  }
  for (const std::int32_t rank : masked_ranks_) masked_[rank] = 0;
  for (const std::int32_t rank : masked_ranks_) refresh(rank);
  masked_ranks_.clear();
}

bool rank_packer::holds(int rank, std::int32_t item) const {
  const auto items = item_of_place_.subspan(first_[rank], held_[rank]);
  return std::find(items.begin(), items.end(), item) != items.end();
}

void rank_packer::replace(int rank, std::int32_t place, std::int32_t item,
                          std::span<const std::uint64_t> units) {
  load_[rank] += units[item] - units[item_of_place_[place]];
  item_of_place_[place] = item;
}

/// Every rank with room holds the item, so an item of a full rank that does not hold it moves to
/// one with room and leaves its place.
///
/// With equal capacities S there always is one: the item has fewer replicas than there are ranks,
/// so some rank q does not hold it, and q, having no room, holds S different items; a rank p with
/// room holds fewer than S, among them the item, which q lacks: so q holds one that p does not, and
/// it can move to p. With unequal capacities a longer path can be needed; it exists by the
/// augmenting paths of bipartite flow.
void rank_packer::make_way(std::int32_t item, std::span<const std::uint64_t> units) {
  const exchange best = best_exchange(item, units);
  if (best.place < 0) {
    shift_along_path(item, units);
    return;
  }
  const std::int32_t moved = item_of_place_[best.place];
  replace(best.full, best.place, item, units);
  append(best.with_room, moved, units[moved]);
  refresh(best.with_room);
  mask(best.full);
}

/// The exchange after which the heavier of its two ranks is lightest; the lowest rank with room,
/// full rank and place among equals.
rank_packer::exchange rank_packer::best_exchange(std::int32_t item,
                                                 std::span<const std::uint64_t> units) const {
  exchange best;
  std::uint64_t best_load = closed;
  for (int to = 0; to < ranks(); ++to) {
    if (held_[to] >= capacity_[to]) continue;
    for (int from = 0; from < ranks(); ++from) {
      if (from == to || masked_[from]) continue;
      for (std::int32_t place = first_[from]; place < first_[from] + held_[from]; ++place) {
        const std::int32_t moved = item_of_place_[place];
        const std::uint64_t load =
            std::max(load_[to] + units[moved], load_[from] - units[moved] + units[item]);
        if (load < best_load && !holds(to, moved)) {
          best_load = load;
          best = {to, from, place};
        }
      }
    }
  }
  return best;
}

/// The lowest place of `from` whose item `to` does not hold, -1 if there is none.
std::int32_t rank_packer::movable_place(int from, int to) const {
  for (std::int32_t place = first_[from]; place < first_[from] + held_[from]; ++place) {
    if (!holds(to, item_of_place_[place])) return place;
  }
  return -1;
}

/// Breadth first from all ranks that do not hold the item, along ranks that can pass one of theirs
/// on, to the first with room. A shortest path meets a rank once, so every hand-over stays legal
/// while the others happen.
void rank_packer::shift_along_path(std::int32_t item, std::span<const std::uint64_t> units) {
  std::vector<std::int32_t> parent(load_.size(), -1);
  std::vector<std::int32_t> via(load_.size(), -1);  // place in the parent whose item comes here
  std::vector<std::int32_t> queue;
  std::vector<std::uint8_t> seen(load_.size(), 0);
  for (int rank = 0; rank < ranks(); ++rank) {
    if (masked_[rank] || capacity_[rank] == 0) continue;
    seen[rank] = 1;
    queue.push_back(rank);
  }
  int end = -1;
  for (std::size_t next = 0; next < queue.size() && end < 0; ++next) {
    const int from = queue[next];
    for (int to = 0; to < ranks() && end < 0; ++to) {
      if (seen[to] || capacity_[to] == 0) continue;
      const std::int32_t place = movable_place(from, to);
      if (place < 0) continue;
      seen[to] = 1;
      parent[to] = from;
      via[to] = place;
      queue.push_back(to);
      if (held_[to] < capacity_[to]) end = to;
    }
  }
  if (end < 0) throw std::logic_error("replica counts do not fit the ranks");
  const std::int32_t last = item_of_place_[via[end]];
  append(end, last, units[last]);
  refresh(end);
  int rank = parent[end];
  std::int32_t place = via[end];
  for (; parent[rank] >= 0; place = via[rank], rank = parent[rank]) {
    replace(rank, place, item_of_place_[via[rank]], units);
  }
  replace(rank, place, item, units);
  mask(rank);
}

void rank_packer::smooth(int swaps, std::span<const std::uint64_t> units) {
  constexpr std::int64_t pairs_max = std::int64_t{1} << 20;
  const std::int64_t widest = *std::max_element(capacity_.begin(), capacity_.end());
  if (widest * static_cast<std::int64_t>(item_of_place_.size()) > pairs_max) return;
  const std::uint64_t mean =
      std::accumulate(load_.begin(), load_.end(), std::uint64_t{0}) / load_.size();
  for (; swaps > 0; --swaps) {
    const auto heaviest =
        static_cast<int>(std::max_element(load_.begin(), load_.end()) - load_.begin());
    if (load_[heaviest] - mean <= mean / 100) return;
    const swap best = best_swap(heaviest, units);
    if (best.partner < 0) return;
    const std::int32_t item = item_of_place_[best.place];
    replace(heaviest, best.place, item_of_place_[best.partner_place], units);
    replace(best.partner, best.partner_place, item, units);
  }
}

/// The lowest partner, place and partner place among equals; partner -1 if no swap leaves both
/// ranks below the heaviest.
rank_packer::swap rank_packer::best_swap(int heaviest, std::span<const std::uint64_t> units) const {
  swap best;
  std::uint64_t best_load = load_[heaviest];
  const std::int32_t first = first_[heaviest];
  for (int partner = 0; partner < ranks(); ++partner) {
    if (load_[partner] >= load_[heaviest]) continue;
    for (std::int32_t theirs = first_[partner]; theirs < first_[partner] + held_[partner];
         ++theirs) {
      const std::uint64_t unit = units[item_of_place_[theirs]];
      const std::uint64_t without = load_[heaviest] + unit;
      const std::uint64_t partner_without = load_[partner] - unit;
      for (std::int32_t place = first; place < first + held_[heaviest]; ++place) {
        const std::uint64_t own = units[item_of_place_[place]];
        const std::uint64_t load = std::max(without - own, partner_without + own);
        if (load < best_load && !holds(partner, item_of_place_[place]) &&
            !holds(heaviest, item_of_place_[theirs])) {
          best_load = load;
          best = {partner, place, theirs};
        }
      }
    }
  }
  return best;
}

}  // namespace ballast
