#pragma once
// MPI from start to end of a job, and how ranks fail together: a step that one rank cannot do ends
// the job on all of them with the same exit code and one line on rank 0.

#include <mpi.h>

#include <functional>

#include "jobs/exit_code.hpp"

namespace ballast {

/// Calls MPI_Init_thread(FUNNELED) and, when destroyed, MPI_Finalize.
class mpi_session {
 public:
  mpi_session();
  ~mpi_session();
  mpi_session(const mpi_session&) = delete;

  MPI_Comm comm() const { return MPI_COMM_WORLD; }
  int rank() const { return rank_; }
  int size() const { return size_; }

 private:
  int rank_ = 0;
  int size_ = 1;
};

/// As collectives::together, without a deadline: for what a job does before it starts, which may
/// take a rank any time.
void together(const mpi_session& mpi, const std::function<void()>& work);

/// Runs a whole job and returns the process's exit code. An error that all ranks share is printed
/// by rank 0; one that leaves the others waiting (silent ranks) is printed by this rank and ends
/// all with MPI_Abort.
int run_mpi_job(const std::function<exit_code(const mpi_session&)>& job);

/// This process's rank as the launcher says, before MPI is initialised; 0 without a launcher.
int launcher_rank();

}  // namespace ballast
