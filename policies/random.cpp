#include "policies/random.hpp"

#include <algorithm>
#include <utility>

namespace ballast {

namespace {

/// splitmix64: every seed gives a sequence of its own, and nothing but integers is involved.
class generator {
 public:
  explicit generator(std::uint64_t seed) : state_(seed) {}

  std::uint64_t next() {
    state_ += 0x9e3779b97f4a7c15ull;
    std::uint64_t mixed = state_;
    mixed = (mixed ^ mixed >> 30) * 0xbf58476d1ce4e5b9ull;
    mixed = (mixed ^ mixed >> 27) * 0x94d049bb133111ebull;
    return mixed ^ mixed >> 31;
  }

  /// In [0, limit). The remainder favours small values by less than limit / 2^64.
  std::int32_t below(std::int32_t limit) {
    return static_cast<std::int32_t>(next() % static_cast<std::uint64_t>(limit));
  }

 private:
  std::uint64_t state_;
};

bool rank_holds(const slot_layout& layout, std::span<const std::int32_t> expert_of_slot, int rank,
                std::int32_t expert) {
  const auto held = expert_of_slot.subspan(layout.first(rank), layout.count(rank));
  return std::find(held.begin(), held.end(), expert) != held.end();
}

}  // namespace

void swap_at_random(std::uint64_t seed, int layer, const slot_layout& layout,
                    std::span<std::int32_t> expert_of_slot) {
  generator random(generator(seed).next() + static_cast<std::uint64_t>(layer));
  const int attempts = std::max(4, layout.slots() / 4);
  for (int attempt = 0; attempt < attempts; ++attempt) {
    const std::int32_t a = random.below(layout.slots());
    const std::int32_t b = random.below(layout.slots());
    const int rank_a = layout.rank_of(a);
    const int rank_b = layout.rank_of(b);
    if (rank_a == rank_b || expert_of_slot[a] == no_expert || expert_of_slot[b] == no_expert ||
        rank_holds(layout, expert_of_slot, rank_a, expert_of_slot[b]) ||
        rank_holds(layout, expert_of_slot, rank_b, expert_of_slot[a])) {
      continue;
    }
    std::swap(expert_of_slot[a], expert_of_slot[b]);
  }
}

}  // namespace ballast
