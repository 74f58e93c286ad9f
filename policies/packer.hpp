#pragma once
// Packing onto ranks: the next item goes to the lightest rank that has room. Items come heaviest
// first, which makes this the longest-processing-time rule of the published planners.

#include <cstdint>
#include <span>
#include <vector>

#include "policies/smoother.hpp"

namespace ballast {

/// Packs one layer (or node) after another and keeps its scratch memory between them. What is
/// packed is called an item here: an expert, or a group of experts.
class rank_packer {
 public:
  /// Units of all items together must stay below 2^unit_bits() of this many ranks.
  static int unit_bits(int ranks);

  /// Empties the ranks. `capacity`: [ranks] items each may take; items of rank r go to
  /// item_of_place[first[r]..]; both and `item_of_place` must live until the last call of add.
  void start(std::span<const std::int32_t> capacity, std::span<const std::int32_t> first,
             std::span<std::int32_t> item_of_place);

  /// Adds one item to the lightest rank with room, the lowest among equals, and returns its place.
  /// There must be room.
  std::int32_t add(std::int32_t item, std::uint64_t unit);

  /// Of the ranks with room; there must be one.
  std::uint64_t lightest_load() const { return next_empty_ < ranks() ? 0 : tree_[1] >> rank_bits_; }

  /// Adds `count` replicas of an item that is on no rank yet to as many different ranks. Where only
  /// ranks that hold it already have room, items added before make way. `units`: [items]. The
  /// counts of all items must fit (see spread_rule in replicas.cpp); throws std::logic_error
  /// otherwise.
  void add_apart(std::int32_t item, std::int32_t count, std::span<const std::uint64_t> units);

  /// Adds items that are on no rank yet one after another, as many replicas of each as `counts`
  /// says, each as add does. `counts`, `units`: [items].
  void add_in_order(std::span<const std::int32_t> items, std::span<const std::int32_t> counts,
                    std::span<const std::uint64_t> units);

  /// Where add_in_order put a replica on a rank that held one, as often as it did.
  std::span<const met_replica> met() const { return met_; }

  /// What lies where now, to be changed once everything is packed.
  packed_ranks packed(std::span<const std::uint64_t> units) {
    return {first_, held_, units, item_of_place_, load_};
  }

 private:
  struct exchange {
    int with_room = -1;
    int full = -1;
    std::int32_t place = -1;
  };

  int ranks() const { return static_cast<int>(load_.size()); }
  int lightest() const {
    return static_cast<int>(tree_[1] & ((std::uint64_t{1} << rank_bits_) - 1));
  }
  bool is_open(int rank) const { return held_[rank] < capacity_[rank] && !masked_[rank]; }
  bool holds(int rank, std::int32_t item) const;
  std::uint64_t key_of(int rank) const;
  void build_tree();
  std::uint64_t replay(int rank, std::uint64_t key);
  void refresh(int rank);
  void skip_to_empty();
  bool starts_empty(std::uint64_t unit);
  int take(std::uint64_t& root, std::int32_t item, std::uint64_t unit);
  std::int32_t append(int rank, std::int32_t item, std::uint64_t unit);
  void replace(int rank, std::int32_t place, std::int32_t item,
               std::span<const std::uint64_t> units);
  void make_way(std::int32_t item, std::span<const std::uint64_t> units);
  exchange best_exchange(std::int32_t item, std::span<const std::uint64_t> units) const;
  std::int32_t movable_place(int from, int to) const;
  void shift_along_path(std::int32_t item, std::span<const std::uint64_t> units);
  void mask(int rank);

  std::span<const std::int32_t> capacity_;
  std::span<const std::int32_t> first_;
  std::span<std::int32_t> item_of_place_;
  std::vector<std::uint64_t> load_;
  std::vector<std::int32_t> held_;
  std::vector<std::uint8_t> masked_;  // ranks that hold the item being added
  std::vector<std::int32_t> masked_ranks_;
  std::vector<std::uint64_t> tree_;  // tree_[1] is the smallest of the leaves tree_[leaves_..]
  std::size_t leaves_ = 1;
  int next_empty_ = 0;  // while below ranks(): no rank from here on has an item, all before have,
                        // of some weight, and the tree is not built yet
  int rank_bits_ = 0;
  std::vector<met_replica> met_;
};

}  // namespace ballast
