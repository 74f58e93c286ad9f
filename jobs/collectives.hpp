#pragma once
// The job's own collectives, which wait no longer than a deadline: Ballast names a rank that has
// stopped inside a ballast_step, and this one that has stopped anywhere else.

#include <mpi.h>

#include <functional>
#include <limits>
#include <span>
#include <string>

namespace ballast {

/// Every function but comm() and wait() is collective over the communicator, which is the caller's.
/// Each throws job_error(temporary) naming the ranks that do not answer once the deadline has
/// passed; what MPI still owns then is left to it.
class collectives {
 public:
  explicit collectives(MPI_Comm comm,
                       double deadline_seconds = std::numeric_limits<double>::infinity())
      : comm_(comm), deadline_seconds_(deadline_seconds) {}

  MPI_Comm comm() const { return comm_; }

  /// Until the request is done.
  void wait(MPI_Request& request) const;

  /// In place.
  void all_reduce(void* values, std::size_t count, MPI_Datatype type, MPI_Op op) const;
  void broadcast(void* values, std::size_t count, MPI_Datatype type, int root) const;

  /// As MPI_Alltoall of one int with each rank, and as MPI_Alltoallv.
  void exchange_counts(std::span<const int> to, std::span<int> from) const;
  struct parts {
    std::span<const int> counts, offsets;  ///< [ranks], of `type`
  };
  void exchange(const void* sent, const parts& to, void* received, const parts& from,
                MPI_Datatype type) const;

  /// Runs `work` on every rank; if it throws on any, every rank throws job_error with the code and
  /// text of the lowest rank that failed ("rank 3: ..." unless that is rank 0). Only for work that
  /// is not itself collective.
  void together(const std::function<void()>& work) const;

 private:
  std::string silent_ranks() const;

  MPI_Comm comm_;
  double deadline_seconds_;
};

}  // namespace ballast
