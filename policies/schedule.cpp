// The entry to scheduling, and the shares that serve between two placements.

#include "policies/schedule.hpp"

#include <vector>

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
                 std::span<const std::int32_t> target_shares, int experts,
                 std::span<std::int32_t> shares) {
  std::vector<std::uint8_t> arrived(experts, 1);
  for (std::size_t slot = 0; slot < live.size(); ++slot) {
    if (live[slot] == target[slot]) continue;
    if (live[slot] != no_expert) arrived[live[slot]] = 0;
    if (target[slot] != no_expert) arrived[target[slot]] = 0;
  }
  set_equal_shares(live, experts, shares);
  for (std::size_t slot = 0; slot < live.size(); ++slot)
    if (live[slot] != no_expert && arrived[live[slot]]) shares[slot] = target_shares[slot];
}

}  // namespace ballast
