#pragma once
// What a replay leaves to the one that resumes it: the placement in a file, and the loads that it
// predicts from beside it, in FILE.loads.npy, which `ballast plan --series --loads` reads too. The
// window that was open is not kept.

#include <cstdint>
#include <string>
#include <vector>

#include "jobs/placement_file.hpp"
#include "jobs/replay/shape.hpp"
#include "runtime/ballast.h"

namespace ballast {

struct replay_state {
  placement_file placement;
  std::vector<std::int64_t> windows;  ///< [any][layers][experts], oldest first
};

/// What a placement file says. Throws std::invalid_argument naming the file and the field that does
/// not fit the shape.
placement_file read_initial(const std::string& path, const replay_shape& shape, int ranks);

/// What save_state has written; no windows where there is no file of loads. Throws as read_initial.
replay_state read_state(const std::string& path, const replay_shape& shape, int ranks);

/// The live placement as a file with slots_per_rank slots a rank: spare rows are left out; and the
/// past windows. Throws job_error(system).
void save_state(const ballast_context* context, const replay_shape& shape, const std::string& path);

}  // namespace ballast
