// A tournament over the ranks finds the lightest: leaf r holds load << rank_bits | r, or `closed`
// where r takes nothing more, and every inner node holds the smaller of its two. Adding an item
// replays one path from leaf to root, without a branch that depends on the data.

#include "policies/packer.hpp"

#include <algorithm>
#include <bit>
#include <limits>
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
  tree_.resize(2 * leaves_);
  met_.clear();
  next_empty_ = -1;
  skip_to_empty();
}

/// The key of a rank among the leaves.
inline std::uint64_t rank_packer::key_of(int rank) const {
  return is_open(rank) ? load_[rank] << rank_bits_ | static_cast<std::uint64_t>(rank) : closed;
}

void rank_packer::build_tree() {
  for (int rank = 0; rank < ranks(); ++rank) tree_[leaves_ + rank] = key_of(rank);
  std::fill(tree_.begin() + static_cast<std::ptrdiff_t>(leaves_) + ranks(), tree_.end(), closed);
  for (std::size_t node = leaves_ - 1; node > 0; --node) {
    tree_[node] = std::min(tree_[2 * node], tree_[2 * node + 1]);
  }
}

/// Returns the root's new key.
inline std::uint64_t rank_packer::replay(int rank, std::uint64_t key) {
  std::size_t node = leaves_ + static_cast<std::size_t>(rank);
  tree_[node] = key;
  for (; node > 1; node /= 2) {
    key = std::min(key, tree_[node ^ 1]);
    tree_[node / 2] = key;
  }
  return key;
}

inline void rank_packer::refresh(int rank) { replay(rank, key_of(rank)); }

/// Past the next rank with room that has no item; builds the tree if there is none.
inline void rank_packer::skip_to_empty() {
  do ++next_empty_;
  while (next_empty_ < ranks() && capacity_[next_empty_] == 0);
  if (next_empty_ == ranks()) build_tree();
}

/// Whether the next item, of this weight, goes to an empty rank: while all others carry something,
/// the first of them is the lightest. Items without weight end that.
inline bool rank_packer::starts_empty(std::uint64_t unit) {
  if (next_empty_ == ranks()) return false;
  if (unit > 0) return true;
  next_empty_ = ranks();
  build_tree();
  return false;
}

inline std::int32_t rank_packer::append(int rank, std::int32_t item, std::uint64_t unit) {
  const std::int32_t place = first_[rank] + held_[rank]++;
  item_of_place_[place] = item;
  load_[rank] += unit;
  return place;
}

/// To the rank of the root's key, which becomes the new one.
inline int rank_packer::take(std::uint64_t& root, std::int32_t item, std::uint64_t unit) {
  const int rank = static_cast<int>(root & ((std::uint64_t{1} << rank_bits_) - 1));
  append(rank, item, unit);
  const bool full = held_[rank] == capacity_[rank];
  root = replay(rank, full ? closed : root + (unit << rank_bits_));
  return rank;
}

std::int32_t rank_packer::add(std::int32_t item, std::uint64_t unit) {
  if (starts_empty(unit)) {
    const std::int32_t place = append(next_empty_, item, unit);
    skip_to_empty();
    return place;
  }
  std::uint64_t root = tree_[1];
  const int rank = take(root, item, unit);
  return first_[rank] + held_[rank] - 1;
}

void rank_packer::add_in_order(std::span<const std::int32_t> items,
                               std::span<const std::int32_t> counts,
                               std::span<const std::uint64_t> units) {
  std::size_t i = 0;
  std::int32_t replica = 0;
  for (; i < items.size() && starts_empty(units[items[i]]); i += replica == 0 ? 1 : 0) {
    append(next_empty_, items[i], units[items[i]]);
    skip_to_empty();
    replica = replica + 1 < counts[items[i]] ? replica + 1 : 0;
  }
  // The root's key goes from one item to the next without a detour through memory.
  std::uint64_t root = i < items.size() ? tree_[1] : closed;
  for (; i < items.size(); ++i, replica = 0) {
    const std::int32_t item = items[i];
    const std::uint64_t unit = units[item];
    const std::int32_t count = counts[item];
    for (; replica < count; ++replica) {
      const int rank = take(root, item, unit);
      if (replica == 0) continue;
      const std::int32_t before = held_[rank] - 2;
      if (before >= 0 && item_of_place_[first_[rank] + before] == item)
        met_.push_back({rank, item});
    }
  }
}

inline void rank_packer::mask(int rank) {
  masked_[rank] = 1;
  masked_ranks_.push_back(rank);
}

void rank_packer::add_apart(std::int32_t item, std::int32_t count,
                            std::span<const std::uint64_t> units) {
  const std::uint64_t unit = units[item];
  if (count == 1 && (next_empty_ < ranks() || tree_[1] != closed)) {
    add(item, unit);
    return;
  }
  for (; count > 0; --count) {
    if (starts_empty(unit)) {
      append(next_empty_, item, unit);
      mask(next_empty_);
      skip_to_empty();
    } else if (tree_[1] == closed) {
      make_way(item, units);
    } else {
      const int rank = lightest();
      append(rank, item, unit);
      mask(rank);
      replay(rank, closed);
    }
  }
  for (const std::int32_t rank : masked_ranks_) masked_[rank] = 0;
  if (next_empty_ == ranks()) {
    for (const std::int32_t rank : masked_ranks_) refresh(rank);
  }
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
  mask(best.full);  // its leaf is closed already
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

}  // namespace ballast
