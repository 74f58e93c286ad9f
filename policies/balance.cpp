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
                              const slot_layout& layout, const speed_scale& speeds) {
  const bool uneven = speeds.uneven();
  scaled_load fullest = 0;
  for (int rank = 0; rank < layout.ranks(); ++rank) {
    const scaled_load load =
        rank_load(loads, expert_of_slot, share_of_slot, layout.first(rank), layout.first(rank + 1));
    fullest = std::max(fullest, uneven ? speeds.level(load, speeds.of(rank)) : load);
  }
  return fullest;
}

host_set hosts_among(std::span<const std::int32_t> usable, const speed_scale& speeds, int first,
                     int last) {
  host_set hosts{0, 0, {}};
  for (int rank = first; rank < last; ++rank) {
    if (usable[rank] == 0) continue;
    ++hosts.ranks;
    hosts.slots += usable[rank];
    if (!speeds.speeds.empty()) hosts.speeds.push_back(speeds.speeds[rank]);
  }
  std::sort(hosts.speeds.begin(), hosts.speeds.end(), std::greater<>());
  return hosts;
}

scaled_load bound_with_free_shares(std::span<const std::int64_t> loads, const host_set& hosts,
                                   const speed_scale& speeds) {
  std::vector<std::int64_t> hottest(loads.begin(), loads.end());
  std::sort(hottest.begin(), hottest.end(), std::greater<>());
  const std::int64_t extra = hosts.slots - static_cast<std::int64_t>(loads.size());
  const bool uneven = speeds.uneven();
  std::int64_t used = 0;  // ranks that the k hottest may be on
  std::int64_t speed = 0;
  scaled_load bound = 0;
  scaled_load sum = 0;
  for (std::size_t k = 1; k <= hottest.size(); ++k) {
    sum += static_cast<scaled_load>(hottest[k - 1]) * share_one;
    for (const auto most =
             std::min<std::int64_t>(hosts.ranks, static_cast<std::int64_t>(k) + extra);
         used < most; ++used) {
      speed += uneven ? hosts.speeds[used] : 1;
    }
    bound = std::max(bound, uneven ? speeds.level(sum, speed) : (sum + speed - 1) / speed);
  }
  return bound;
}

}  // namespace ballast
