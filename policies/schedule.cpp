// The entry to scheduling, and the shares that serve between two placements.

#include "policies/schedule.hpp"

#include <algorithm>

#include "policies/schedule_composer.hpp"

namespace ballast {

const char* to_string(move_way way) {
  switch (way) {
    case move_way::spare:
      return "spare";
    case move_way::vacate:
      return "vacate";
    case move_way::staged:
      return "staged";
  }
  return "unknown";
}

schedule make_schedule(const schedule_request& request) {
  return scheduling::composer(request).run();
}

void live_shares(std::span<const std::int32_t> live, std::span<const std::int32_t> target,
                 std::span<const std::int32_t> target_shares,
                 std::span<const std::int32_t> replicas, std::span<std::int32_t> scratch,
                 std::span<std::int32_t> shares) {
  // Of each expert: how many of its replicas have had their equal share so far, or that all
  // replicas are where the target has them.
  constexpr std::int32_t at_home = -1;
  std::ranges::fill(scratch, at_home);
  for (std::size_t slot = 0; slot < live.size(); ++slot) {
    if (live[slot] == target[slot]) continue;
    if (live[slot] != no_expert) scratch[live[slot]] = 0;
    if (target[slot] != no_expert) scratch[target[slot]] = 0;
  }
  for (std::size_t slot = 0; slot < live.size(); ++slot) {
    const std::int32_t expert = live[slot];
    if (expert == no_expert) {
      shares[slot] = 0;
    } else if (scratch[expert] == at_home) {
      shares[slot] = target_shares[slot];
    } else {
      const std::int32_t extra = scratch[expert]++ < share_one % replicas[expert] ? 1 : 0;
      shares[slot] = share_one / replicas[expert] + extra;
    }
  }
}

}  // namespace ballast
