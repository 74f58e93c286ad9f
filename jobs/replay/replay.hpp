#pragma once
// The main job: plays loads through the whole runtime on every rank, with real weights, and checks
// every byte.

#include "jobs/mpi_session.hpp"
#include "jobs/replay/options.hpp"

namespace ballast {

/// TERM and USR1 become requests to stop instead of ending the process. To be called before MPI
/// starts, so that none is lost.
void catch_stop_signals();

/// Collective. Returns ok, internal (wrong bytes or outputs), temporary (USR1: state saved, start
/// me again) or terminated (TERM).
exit_code replay(const mpi_session& mpi, const replay_options& options);

}  // namespace ballast
