#include "jobs/mpi_session.hpp"

#include <fmt/format.h>

#include <cstdlib>
#include <string>

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
  int code = 0;
  std::string text;
  try {
    work();
  } catch (...) {
    const job_error failure = current_job_error();
    code = static_cast<int>(failure.code());
    text = failure.what();
  }
  int failed = code == 0 ? mpi.size() : mpi.rank();
  MPI_Allreduce(MPI_IN_PLACE, &failed, 1, MPI_INT, MPI_MIN, mpi.comm());
  if (failed == mpi.size()) return;
  int head[2] = {code, static_cast<int>(text.size())};
  MPI_Bcast(head, 2, MPI_INT, failed, mpi.comm());
  text.resize(head[1]);
  MPI_Bcast(text.data(), head[1], MPI_CHAR, failed, mpi.comm());
  throw job_error(static_cast<exit_code>(head[0]),
                  failed == 0 ? text : fmt::format("rank {}: {}", failed, text));
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
