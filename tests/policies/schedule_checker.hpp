#pragma once
// Replays a schedule and says what it does that its contract (policies/schedule.hpp) forbids.

#include <string>

#include "policies/schedule.hpp"

namespace ballast::testing {

/// Empty if `made` answers `request` with every property that make_schedule promises, otherwise one
/// line that names the batch and the first broken one. Knows nothing of how schedules are made: it
/// keeps bytes and routing tables of all rows, runs the batches with as much overlap as they allow
/// and again with none, and counts.
std::string why_wrong(const schedule_request& request, const schedule& made);

}  // namespace ballast::testing
