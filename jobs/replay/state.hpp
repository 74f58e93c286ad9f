#pragma once
// What a replay leaves to the one that resumes it: the placement in a file, and the loads that it
// predicts from beside it, in FILE.loads.npy, which `ballast plan --series --loads` reads too. The
// window that was open is not kept.

#include <cstdint>
#include <string>
#include <vector>

#include "jobs/mpi_session.hpp"
#include "jobs/placement_file.hpp"
#include "jobs/replay/shape.hpp"
#include "runtime/ballast.h"

namespace ballast {

/// Collective: whether a job resumes from `path`, the same on all ranks, as each of them reads it.
/// Throws job_error(bad_input) if only some have it.
bool state_exists(const mpi_session& mpi, const std::string& path);

/// Throws std::invalid_argument naming the file and the field that does not fit the shape.
void require_fits(const placement_file& file, const std::string& path, const replay_shape& shape,
                  int ranks);

/// The loads that save_state has written beside the placement in `path`: [any][layers][experts],
/// oldest first; none where there is no such file. Throws std::invalid_argument if they do not fit.
std::vector<std::int64_t> read_saved_windows(const std::string& path, const replay_shape& shape);

/// The live placement as a file with slots_per_rank slots a rank: spare rows are left out; and the
/// past windows. Throws job_error(system).
void save_state(const ballast_context* context, const replay_shape& shape, const std::string& path);

}  // namespace ballast
