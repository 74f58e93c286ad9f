#pragma once
// A set of slots, kept as bits, so that the few members among a rank's slots are found without
// looking at the others.

#include <bit>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace ballast {

class slot_bits {
 public:
  /// Where the bits are while the set's size stays: a copy in a local variable spares the compiler
  /// from loading the pointer again after every store.
  class view {
   public:
    explicit view(const std::uint64_t* words) : words_(words) {}

    bool has(std::int32_t slot) const { return (words_[word(slot)] >> (slot & 63) & 1) != 0; }

    /// Calls `visit` for the members in [first, end), ascending. It must not change the set.
    template <class Visit>
    void for_each(std::int32_t first, std::int32_t end, Visit&& visit) const {
      for (std::int32_t base = first; base < end; base += 64) {
        std::uint64_t bits = from(base);
        if (end - base < 64) bits &= (std::uint64_t{1} << (end - base)) - 1;
        for (; bits != 0; bits &= bits - 1) visit(base + std::countr_zero(bits));
      }
    }

   private:
    /// The 64 slots from this one on.
    std::uint64_t from(std::int32_t slot) const {
      const std::uint64_t* const at = words_ + word(slot);
      const int shift = slot & 63;
      return at[0] >> shift | (at[1] << 1) << (63 - shift);
    }

    const std::uint64_t* words_;
  };

  /// Empties the set; it may then hold slots below `slots`.
  void clear(int slots) { words_.assign(static_cast<std::size_t>(slots) / 64 + 2, 0); }

  view all() const { return view(words_.data()); }
  bool has(std::int32_t slot) const { return all().has(slot); }
  void insert(std::int32_t slot) { words_[word(slot)] |= std::uint64_t{1} << (slot & 63); }
  void erase(std::int32_t slot) { words_[word(slot)] &= ~(std::uint64_t{1} << (slot & 63)); }

 private:
  static std::size_t word(std::int32_t slot) { return static_cast<std::size_t>(slot) / 64; }

  std::vector<std::uint64_t> words_;  // one more than needed, for the view
};

}  // namespace ballast
