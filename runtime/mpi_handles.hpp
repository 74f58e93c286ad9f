#pragma once
// Owning MPI handles: a duplicated communicator and a request that is never dropped while active.
// Waiting always has a deadline.

#include <mpi.h>

#include <chrono>
#include <functional>
#include <string>
#include <utility>

namespace ballast {

using steady_clock = std::chrono::steady_clock;

/// A duplicate of the caller's communicator, with MPI_ERRORS_RETURN set on the duplicate only.
/// Freed when destroyed, unless MPI is finalized by then or abandon() was called. Moved-from is
/// empty.
class mpi_comm {
 public:
  mpi_comm() = default;
  /// Collective, blocking up to the deadline; then throws error(DEADLINE).
  static mpi_comm duplicate(MPI_Comm original, const char* name, double deadline_seconds);
  /// Collective over `all`, which all ranks are known to have reached: the ranks of one `color`.
  static mpi_comm split(MPI_Comm all, int color, const char* name);
  /// The same, of the ranks that share memory, in the order of their ranks.
  static mpi_comm split_by_node(MPI_Comm all, const char* name);
  mpi_comm(mpi_comm&& other) noexcept : comm_(std::exchange(other.comm_, MPI_COMM_NULL)) {}
  mpi_comm& operator=(mpi_comm&& other) noexcept;
  ~mpi_comm();

  MPI_Comm get() const { return comm_; }
  int rank() const;
  int size() const;

  /// Gives the handle up to the end of the process: ranks are gone that would have to free it with
  /// us.
  void abandon() { comm_ = MPI_COMM_NULL; }

 private:
  explicit mpi_comm(MPI_Comm comm) : comm_(comm) {}
  static mpi_comm adopt(MPI_Comm comm, const char* name);
  MPI_Comm comm_ = MPI_COMM_NULL;
};

/// Throws error(STATE) if MPI is not initialised or finalised already, and error(INVALID_ARGUMENT)
/// if `comm` is MPI_COMM_NULL or an intercommunicator, whose collectives are of the other group.
void require_intracommunicator(MPI_Comm comm);

/// Empty if MPI's thread level allows what Ballast does: calls from this thread, beside a thread
/// that makes none. Else one line.
std::string why_thread_level_is_too_low();

/// Tests `request` until it completes or `deadline_seconds` have passed; true if it completed.
/// Calls `meanwhile` between tests, so that what others wait for goes on. Yields the core.
bool wait_until(MPI_Request& request, double deadline_seconds,
                const std::function<void()>& meanwhile);

/// Not collective in MPI's sense: every rank whose deadline has passed calls it. Asks all ranks of
/// `comm` for a sign of life, on a tag of its own, and returns those that gave none within
/// `seconds`, as text ("1, 3"), "" if all answered. What it leaves unfinished belongs to MPI until
/// the process ends.
std::string silent_ranks(MPI_Comm comm, double seconds);

inline double seconds_since(steady_clock::time_point start) {
  return std::chrono::duration<double>(steady_clock::now() - start).count();
}

}  // namespace ballast
