#pragma once
// What ranks have measured while the model runs, and what follows from it: the time of a token and
// of a byte on each class of link. All ranks hold the same integers, so they conclude the same.

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "policies/placement.hpp"
#include "policies/speeds.hpp"
#include "topology/cluster_map.hpp"

namespace ballast {

/// Weights received over links of each class, and the time that the receiving ranks spent on it.
struct link_times {
  std::array<std::int64_t, link_class_count> ns = {};
  std::array<std::int64_t, link_class_count> bytes = {};
};

struct measured_times {
  std::vector<std::int64_t> pass_ns;  ///< [ranks] of a rank's experts in one pass, all layers, the
                                      ///< mean over a window; 0: not told
  link_times links;                   ///< of all ranks together, since the start
};

/// The window that passes were timed in.
struct timed_window {
  std::span<const std::int64_t> work;  ///< [layers, experts] tokens, or activations
  std::int64_t passes = 1;
  bool whole = false;  ///< a replica with any share does all of its expert's work (activations)
};

constexpr std::int64_t token_ps_max = 1'000'000'000'000;

/// Picoseconds that one more unit of work on the fullest rank costs a pass: what the rank that took
/// longest took, over what it had to do under `place`, at the level of a rank of mean speed
/// (speeds.hpp); up to token_ps_max. What a pass costs without any work is in it too, so it is
/// rather too much. Of equally slow ranks the lowest counts; 0 if no rank that had work has told
/// its time.
std::int64_t measured_token_ps(const timed_window& window, const placement& place,
                               const speed_scale& speeds, std::span<const std::int64_t> pass_ns);

/// Nanoseconds per MiB by link class; 0 where nothing was received.
std::array<std::int64_t, link_class_count> measured_link_costs(const link_times& links);

}  // namespace ballast
