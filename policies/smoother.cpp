#include "policies/smoother.hpp"

#include <algorithm>
#include <limits>
#include <numeric>
#include <utility>

namespace ballast {

bool rank_smoother::holds_item(std::span<const entry> entries, std::int32_t item) {
  return std::ranges::any_of(entries, [item](const entry& e) { return e.item == item; });
}

void rank_smoother::start(const packed_ranks& packed) {
  packed_ = packed;
  is_read_ = false;
}

std::uint64_t rank_smoother::heaviest_load() const { return std::ranges::max(packed_.load); }

bool rank_smoother::separate(std::span<const met_replica> met) {
  for (const met_replica& replica : met) {
    if (!is_read_) read();
    // One of the two may have left in exchange for another.
    if (std::ranges::count(entries_of(replica.rank), replica.item, &entry::item) < 2) continue;
    const swap best = best_parting(replica);
    if (best.partner < 0) return false;
    make(replica.rank, best);
  }
  return true;
}

void rank_smoother::smooth(int swaps, std::uint64_t least, std::uint64_t goal) {
  const auto load = packed_.load;
  const std::uint64_t mean =
      std::accumulate(load.begin(), load.end(), std::uint64_t{0}) / load.size();
  const std::uint64_t enough = std::max(least + mean / 1000, std::min(goal, mean + mean / 100));
  for (; swaps > 0; --swaps) {
    const auto heaviest =
        static_cast<int>(std::max_element(load.begin(), load.end()) - load.begin());
    if (load[heaviest] <= enough) return;
    if (!is_read_) read();
    const swap best = best_swap(heaviest, enough);
    if (best.partner < 0) return;
    make(heaviest, best);
  }
}

void rank_smoother::read() {
  is_read_ = true;
  entries_.clear();
  first_entry_.assign(1, 0);
  for (std::size_t rank = 0; rank < packed_.held.size(); ++rank) {
    const std::int32_t first = packed_.first[rank];
    for (std::int32_t place = first; place < first + packed_.held[rank]; ++place) {
      const std::int32_t item = packed_.item_of_place[place];
      entries_.push_back({packed_.units[item], place, item});
      for (auto at = static_cast<std::int32_t>(entries_.size()) - 1;
           at > first_entry_.back() && entries_[at - 1].unit < entries_[at].unit; --at) {
        std::swap(entries_[at - 1], entries_[at]);
      }
    }
    first_entry_.push_back(static_cast<std::int32_t>(entries_.size()));
  }
}

rank_smoother::swap rank_smoother::best_parting(const met_replica& met) const {
  const auto load = packed_.load;
  const auto own = entries_of(met.rank);
  const auto replica = std::ranges::find(own, met.item, &entry::item);
  swap best;
  best.load = std::numeric_limits<std::uint64_t>::max();
  for (int partner = 0; partner < ranks(); ++partner) {
    const std::uint64_t both = load[met.rank] + load[partner];
    if (both - both / 2 >= best.load || partner == met.rank) continue;
    const auto theirs = entries_of(partner);
    if (holds_item(theirs, met.item)) continue;
    for (std::size_t i = 0; i < theirs.size(); ++i) {
      const std::uint64_t next = std::max(load[met.rank] - replica->unit + theirs[i].unit,
                                          load[partner] - theirs[i].unit + replica->unit);
      if (next >= best.load || holds_item(own, theirs[i].item)) continue;
      best = {next, partner, first_entry_[partner] + static_cast<std::int32_t>(i),
              first_entry_[met.rank] + static_cast<std::int32_t>(replica - own.begin())};
    }
  }
  return best;
}

/// The lightest partner comes first: what it offers rules most others out, as the heavier of two
/// ranks carries at least half of both. Partner -1 if no swap leaves both below the heaviest.
rank_smoother::swap rank_smoother::best_swap(int heaviest, std::uint64_t enough) const {
  const auto load = packed_.load;
  swap best;
  best.load = load[heaviest];
  const auto lightest = static_cast<int>(std::min_element(load.begin(), load.end()) - load.begin());
  try_swaps(heaviest, lightest, best);
  for (int partner = 0; partner < ranks() && best.load > enough; ++partner) {
    const std::uint64_t both = load[heaviest] + load[partner];
    if (both - both / 2 <= best.load && partner != lightest) try_swaps(heaviest, partner, best);
  }
  return best;
}

/// An item of the heaviest and a lighter one of the partner are worth a swap if their difference is
/// above what the heaviest has to lose and below what the partner can take. Both sides being in
/// order, the items that can fit one of the partner's follow those that can fit the one before.
void rank_smoother::try_swaps(int heaviest, int partner, swap& best) const {
  const std::uint64_t from = packed_.load[heaviest];
  const std::uint64_t to = packed_.load[partner];
  if (to >= best.load) return;
  const auto own = entries_of(heaviest);
  const auto theirs = entries_of(partner);
  const auto places = [&](const swap& s) {
    return std::pair(entries_[s.theirs].place, entries_[s.own].place);
  };
  std::size_t first = 0;
  for (std::size_t i = 0; i < theirs.size(); ++i) {
    const std::uint64_t most = theirs[i].unit + (best.load - to);
    while (first < own.size() && own[first].unit > most) ++first;
    const std::uint64_t least = theirs[i].unit + (from - best.load);
    for (std::size_t k = first; k < own.size() && own[k].unit >= least; ++k) {
      const std::uint64_t moved = own[k].unit - theirs[i].unit;
      const swap next = {std::max(from - moved, to + moved), partner,
                         first_entry_[partner] + static_cast<std::int32_t>(i),
                         first_entry_[heaviest] + static_cast<std::int32_t>(k)};
      if (next.load > best.load) continue;
      if (next.load == best.load) {
        if (best.partner < 0 || best.partner < partner) continue;
        if (best.partner == partner && places(best) < places(next)) continue;
      }
      if (holds_item(theirs, own[k].item) || holds_item(own, theirs[i].item)) continue;
      best = next;
    }
  }
}

void rank_smoother::make(int rank, const swap& chosen) {
  const entry own = entries_[chosen.own];
  const entry theirs = entries_[chosen.theirs];
  packed_.item_of_place[own.place] = theirs.item;
  packed_.item_of_place[theirs.place] = own.item;
  packed_.load[rank] += theirs.unit - own.unit;
  packed_.load[chosen.partner] += own.unit - theirs.unit;
  put(rank, chosen.own, theirs.unit, theirs.item);
  put(chosen.partner, chosen.theirs, own.unit, own.item);
}

/// Another item in the place of an entry.
void rank_smoother::put(int rank, std::int32_t at, std::uint64_t unit, std::int32_t item) {
  entries_[at].unit = unit;
  entries_[at].item = item;
  const auto before = [](const entry& a, const entry& b) {
    return a.unit != b.unit ? a.unit > b.unit : a.place < b.place;
  };
  for (; at > first_entry_[rank] && before(entries_[at], entries_[at - 1]); --at) {
    std::swap(entries_[at - 1], entries_[at]);
  }
  for (; at + 1 < first_entry_[rank + 1] && before(entries_[at + 1], entries_[at]); ++at) {
    std::swap(entries_[at + 1], entries_[at]);
  }
}

}  // namespace ballast
