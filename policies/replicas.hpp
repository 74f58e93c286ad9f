#pragma once
// How many replicas each expert gets: the published greedy, which gives every free slot to the
// expert whose replicas carry most. It decides by exact fractions, load / count.

#include <cstdint>
#include <span>
#include <vector>

namespace ballast {

/// Chooses replica counts for one layer after another and keeps its scratch memory between them.
class replica_chooser {
 public:
  /// Fills all of `capacity` ([ranks] slots), whatever becomes of replicas on one rank. The slots
  /// are at least as many as the experts. `by_load`: [experts] by load descending, then index
  /// ascending (load_sorter.hpp). `loads` must live until the last call of compare.
  void choose(std::span<const std::int64_t> loads, std::span<const std::int32_t> by_load,
              std::span<const std::int32_t> capacity);

  /// The same, but only counts that can be placed with no two replicas of an expert on a rank:
  /// slots that then cannot be used stay free.
  void choose_apart(std::span<const std::int64_t> loads, std::span<const std::int32_t> by_load,
                    std::span<const std::int32_t> capacity);

  /// [experts] replicas of each.
  std::span<const std::int32_t> counts() const { return counts_; }

  /// Those that may have more than one, by load / count descending, then index ascending.
  std::span<const std::int32_t> grown() const { return std::span(by_load_).first(started_); }

  /// [experts] by load / count descending, then index ascending.
  std::span<const std::int32_t> by_weight() const { return by_weight_; }

  /// [slots - experts] expert of each replica beyond the first, in the order they were given.
  std::span<const std::int32_t> extras() const { return extras_; }

  /// -1, 0 or 1 as load / count of `a` is smaller than, equal to or larger than that of `b`.
  int compare(std::int32_t a, std::int32_t b) const;

 private:
  void start(std::span<const std::int64_t> loads, std::span<const std::int32_t> by_load);
  template <class MayGrow>
  void grow(std::int64_t extra, MayGrow&& may_grow);
  bool before(std::int32_t a, std::int32_t b) const;
  void order_by_weight();

  std::span<const std::int64_t> loads_;
  std::vector<std::int32_t> counts_;
  std::vector<std::int32_t> by_load_;  // load descending, index ascending, from started_ on
  std::size_t started_ = 0;            // those before were taken for more replicas
  std::vector<std::int32_t> by_weight_;
  std::vector<std::int32_t> extras_;
  std::vector<std::int32_t> heap_;  // experts that got extras, largest load / count on top
};

}  // namespace ballast
