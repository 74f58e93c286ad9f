#pragma once
// How long an engine's steps took with and without an epoch in flight, told of the rank to which
// epochs did the most harm: a step of the engine ends when its slowest rank does.

#include <mpi.h>

#include <vector>

namespace moe {

/// Of steps; those in which tables change are part of those with an epoch in flight.
enum step_kind : int { idle, epoch_in_flight, tables_changed };

/// Collective. Rank 0 prints the distributions of the rank whose p99 with an epoch in flight is
/// highest, then how far its p50 and p99 are above idle. `times`: microseconds, `kinds`: a
/// step_kind each, of this rank's steps; their count is the same on every rank.
void print_step_times(const std::vector<float>& times, const std::vector<int>& kinds,
                      MPI_Comm communicator);

}  // namespace moe
