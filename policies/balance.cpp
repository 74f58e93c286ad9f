#include "policies/balance.hpp"

#include <algorithm>
#include <functional>
#include <vector>

namespace ballast {

namespace {

scaled_load rank_load(std::span<const std::int64_t> loads,
                      std::span<const std::int32_t> expert_of_slot,
                      std::span<const std::int32_t> share_of_slot, int first, int last) {
  scaled_load sum = 0;
  for (int slot = first; slot < last; ++slot) {
    const std::int32_t expert = expert_of_slot[slot];
    if (expert != no_expert) sum += static_cast<scaled_load>(loads[expert]) * share_of_slot[slot];
  }
  return sum;
}

scaled_load divided_up(scaled_load value, std::int64_t by) { return (value + by - 1) / by; }

}  // namespace

void rank_loads_of(std::span<const std::int64_t> loads,
                   std::span<const std::int32_t> expert_of_slot,
                   std::span<const std::int32_t> share_of_slot, const slot_layout& layout,
                   std::span<scaled_load> rank_loads) {
  for (int rank = 0; rank < layout.ranks(); ++rank) {
    rank_loads[rank] =
        rank_load(loads, expert_of_slot, share_of_slot, layout.first(rank), layout.first(rank + 1));
  }
}

scaled_load fullest_rank_load(std::span<const std::int64_t> loads,
                              std::span<const std::int32_t> expert_of_slot,
                              std::span<const std::int32_t> share_of_slot,
                              const slot_layout& layout) {
  scaled_load fullest = 0;
  for (int rank = 0; rank < layout.ranks(); ++rank) {
    fullest = std::max(fullest, rank_load(loads, expert_of_slot, share_of_slot, layout.first(rank),
                                          layout.first(rank + 1)));
  }
  return fullest;
}

scaled_load bound_with_free_shares(std::span<const std::int64_t> loads, int ranks,
                                   int usable_slots) {
  std::vector<std::int64_t> hottest(loads.begin(), loads.end());
  std::sort(hottest.begin(), hottest.end(), std::greater<>());
  const std::int64_t extra = usable_slots - static_cast<std::int64_t>(loads.size());
  scaled_load bound = 0;
  scaled_load sum = 0;
  for (std::size_t k = 1; k <= hottest.size(); ++k) {
    sum += static_cast<scaled_load>(hottest[k - 1]) * share_one;
    const std::int64_t hosts = std::min<std::int64_t>(ranks, static_cast<std::int64_t>(k) + extra);
    bound = std::max(bound, divided_up(sum, hosts));
  }
  return bound;
}

}  // namespace ballast
