#pragma once
// Swaps between ranks that put right what a greedy packing has left.

#include <cstdint>
#include <span>
#include <vector>

namespace ballast {

/// What lies where after packing, to be changed in place.
struct packed_ranks {
  std::span<const std::int32_t> first;   ///< [ranks] first place of each
  std::span<const std::int32_t> held;    ///< [ranks] places in use, from the first on
  std::span<const std::uint64_t> units;  ///< [items] weight of each
  std::span<std::int32_t> item_of_place;
  std::span<std::uint64_t> load;  ///< [ranks] sum of what each holds, below 2^62
};

/// A replica of an item on a rank that holds another.
struct met_replica {
  std::int32_t rank;
  std::int32_t item;
};

/// Works on one packing after another and keeps its scratch memory between them.
class rank_smoother {
 public:
  /// What the packing refers to must live until the last call.
  void start(const packed_ranks& packed);

  std::uint64_t heaviest_load() const;

  /// `met`: all replicas that meet another of their item. Swaps each for an item of another rank,
  /// whichever leaves the heavier of the two lightest, so that no item is twice on a rank; the
  /// lowest rank and the heaviest item there among equals. False where one cannot be.
  bool separate(std::span<const met_replica> met);

  /// Swaps an item of the heaviest rank for one of another rank, whichever leaves the heavier of
  /// the two lightest, at most `swaps` times and while that lowers the heaviest; the lowest rank,
  /// place there and place here among equals. No item comes twice on a rank. Ends when the heaviest
  /// is at most a hundredth above the mean and not above `goal`, or a thousandth of the mean above
  /// `least`, below which no swaps lead.
  void smooth(int swaps, std::uint64_t least, std::uint64_t goal);

 private:
  struct entry {
    std::uint64_t unit;
    std::int32_t place;
    std::int32_t item;
  };

  struct swap {
    std::uint64_t load = 0;  // of the heavier of the two ranks afterwards
    int partner = -1;
    std::int32_t theirs = -1;  // among the entries
    std::int32_t own = -1;
  };

  void read();
  int ranks() const { return static_cast<int>(packed_.load.size()); }
  std::span<const entry> entries_of(int rank) const {
    return std::span(entries_).subspan(first_entry_[rank],
                                       first_entry_[rank + 1] - first_entry_[rank]);
  }
  static bool holds_item(std::span<const entry> entries, std::int32_t item);
  swap best_parting(const met_replica& met) const;
  swap best_swap(int heaviest, std::uint64_t enough) const;
  void try_swaps(int heaviest, int partner, swap& best) const;
  void make(int rank, const swap& chosen);
  void put(int rank, std::int32_t at, std::uint64_t unit, std::int32_t item);

  packed_ranks packed_;
  bool is_read_ = false;
  std::vector<entry> entries_;  // rank by rank, heaviest first, then lowest place
  std::vector<std::int32_t> first_entry_;
};

}  // namespace ballast
