#include "policies/measured.hpp"

#include <algorithm>

#include "policies/payback.hpp"

namespace ballast {

namespace {

__extension__ typedef __int128 wide;

/// Of all layers, in 1/65536 unit of work.
scaled_load work_of_rank(const timed_window& window, const placement& place, int rank) {
  const slot_layout& layout = place.layout();
  const auto experts = static_cast<std::size_t>(place.experts());
  scaled_load sum = 0;
  for (int layer = 0; layer < place.layers(); ++layer) {
    const auto work = window.work.subspan(layer * experts, experts);
    const auto held = place.experts_of(layer);
    const auto shares = place.shares_of(layer);
    for (int slot = layout.first(rank); slot < layout.first(rank + 1); ++slot) {
      if (held[slot] == no_expert || shares[slot] == 0) continue;
      const std::int64_t share = window.whole ? share_one : shares[slot];
      sum += static_cast<scaled_load>(work[held[slot]]) * share;
    }
  }
  return sum;
}

}  // namespace

std::int64_t measured_token_ps(const timed_window& window, const placement& place,
                               const speed_scale& speeds, std::span<const std::int64_t> pass_ns) {
  std::int64_t longest = 0;
  scaled_load level = 0;
  for (int rank = 0; rank < place.layout().ranks(); ++rank) {
    if (pass_ns[rank] <= longest) continue;
    const scaled_load work = work_of_rank(window, place, rank);
    if (work == 0) continue;
    longest = pass_ns[rank];
    level = speeds.level(work, speeds.of(rank));
  }
  if (longest == 0) return 0;
  constexpr std::int64_t ns_max = std::int64_t{1} << 42;  // over an hour
  constexpr std::int64_t passes_max = std::int64_t{1} << 50;
  const wide ps = static_cast<wide>(std::min(longest, ns_max)) * ps_per_ns *
                  std::clamp<std::int64_t>(window.passes, 1, passes_max) * share_one / level;
  return static_cast<std::int64_t>(std::clamp<wide>(ps, 1, token_ps_max));
}

std::array<std::int64_t, link_class_count> measured_link_costs(const link_times& links) {
  std::array<std::int64_t, link_class_count> costs = {};
  for (std::size_t link = 0; link < costs.size(); ++link) {
    if (links.bytes[link] <= 0 || links.ns[link] <= 0) continue;
    const wide ns_per_mib = (static_cast<wide>(links.ns[link]) << 20) / links.bytes[link];
    costs[link] = static_cast<std::int64_t>(std::clamp<wide>(ns_per_mib, 1, wide{1} << 40));
  }
  return costs;
}

}  // namespace ballast
