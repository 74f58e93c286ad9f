#include "jobs/mpi_session.hpp"

#include <fmt/format.h>

#include <cstdlib>
#include <string>

#include "jobs/collectives.hpp"

namespace ballast {

mpi_session::mpi_session() {
  int provided = MPI_THREAD_SINGLE;
  MPI_Init_thread(nullptr, nullptr, MPI_THREAD_FUNNELED, &provided);
  MPI_Comm_rank(MPI_COMM_WORLD, &rank_);
  MPI_Comm_size(MPI_COMM_WORLD, &size_);
  if (provided < MPI_THREAD_FUNNELED) {
    fmt::print(stderr, "ballast: this MPI gives no MPI_THREAD_FUNNELED\n");
    MPI_Abort(MPI_COMM_WORLD, static_cast<int>(exit_code::system));
  }
}

mpi_session::~mpi_session() { MPI_Finalize(); }

void together(const mpi_session& mpi, const std::function<void()>& work) {
  collectives(mpi.comm()).together(work);
}

int run_mpi_job(const std::function<exit_code(const mpi_session&)>& job) {
  const mpi_session mpi;
  try {
    return static_cast<int>(job(mpi));
  } catch (...) {
    const job_error failure = current_job_error();
    const bool shared = !failure.alone() && failure.code() != exit_code::temporary &&
                        failure.code() != exit_code::internal;
    if (mpi.rank() == 0 || !shared) fmt::print(stderr, "ballast: {}\n", failure.what());
    if (!shared) MPI_Abort(mpi.comm(), static_cast<int>(failure.code()));
    return static_cast<int>(failure.code());
  }
}

int launcher_rank() {
  for (const char* name : {"OMPI_COMM_WORLD_RANK", "PMIX_RANK", "PMI_RANK", "SLURM_PROCID"}) {
    if (const char* value = std::getenv(name)) return std::atoi(value);
  }
  return 0;
}

}  // namespace ballast
