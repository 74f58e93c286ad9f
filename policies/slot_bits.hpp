#pragma once
// A set of slots, kept as bits, so that the few members among a rank's slots are found without
// looking at the others.

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "policies/placement.hpp"

namespace ballast {

class slot_bits {
 public:
  /// Empties the set; it may then hold slots of this layout, which must outlive it.
  void clear(const slot_layout& layout) {
    layout_ = &layout;
    words_per_rank_ = 1;
    for (int rank = 0; rank < layout.ranks(); ++rank) {
      words_per_rank_ = std::max(words_per_rank_, (layout.count(rank) + 63) / 64);
    }
    words_.assign(static_cast<std::size_t>(layout.ranks()) * words_per_rank_, 0);
  }

  void insert(std::int32_t slot) { words_[place_of(slot).word] |= place_of(slot).bit; }
  void erase(std::int32_t slot) { words_[place_of(slot).word] &= ~place_of(slot).bit; }
  bool has(std::int32_t slot) const {
    return (words_[place_of(slot).word] & place_of(slot).bit) != 0;
  }

  /// Where the bits are until the next `clear`: a copy in a local variable spares the compiler from
  /// loading the pointer again after every store.
  class view {
   public:
    explicit view(const slot_bits& bits)
        : words_(bits.words_.data()),
          words_per_rank_(bits.words_per_rank_),
          layout_(*bits.layout_) {}

    /// Calls `visit` for the members among the rank's slots, ascending. It must not change the set.
    template <class Visit>
    void for_each_of(int rank, Visit&& visit) const {
      std::int32_t first = layout_.first(rank);
      const std::uint64_t* word = words_ + static_cast<std::ptrdiff_t>(rank) * words_per_rank_;
      for (int left = words_per_rank_; left > 0; --left, ++word, first += 64) {
        for (std::uint64_t bits = *word; bits != 0; bits &= bits - 1) {
          visit(first + std::countr_zero(bits));
        }
      }
    }

   private:
    const std::uint64_t* words_;
    int words_per_rank_;
    const slot_layout& layout_;
  };

  view all() const { return view(*this); }

  /// Calls `visit` for what is in one of the sets and not in the other; it may put that right. Both
  /// were cleared for the same layout.
  template <class Visit>
  void for_each_difference(const slot_bits& other, Visit&& visit) const {
    for (std::size_t at = 0; at < words_.size(); ++at) {
      for (std::uint64_t bits = words_[at] ^ other.words_[at]; bits != 0; bits &= bits - 1) {
        const auto rank = static_cast<int>(at / words_per_rank_);
        const auto skipped = static_cast<std::int32_t>(at % words_per_rank_) * 64;
        visit(layout_->first(rank) + skipped + std::countr_zero(bits));
      }
    }
  }

 private:
  struct place {
    std::size_t word;
    std::uint64_t bit;
  };
  place place_of(std::int32_t slot) const {
    const int rank = layout_->rank_of(slot);
    const std::int32_t at = slot - layout_->first(rank);
    return {static_cast<std::size_t>(rank) * words_per_rank_ + at / 64,
            std::uint64_t{1} << (at & 63)};
  }

  const slot_layout* layout_ = nullptr;
  int words_per_rank_ = 1;
  std::vector<std::uint64_t> words_;  // [ranks][words_per_rank_]
};

}  // namespace ballast
