#include "runtime/mpi_handles.hpp"

#include <fmt/format.h>
#include <sched.h>

#include <memory>
#include <vector>

#include "runtime/error.hpp"

namespace ballast {
namespace {

constexpr int roll_call_tag = 32767;  // the largest that every MPI must allow

bool mpi_is_usable() {
  int initialized = 0;
  int finalized = 0;
  MPI_Initialized(&initialized);
  MPI_Finalized(&finalized);
  return initialized != 0 && finalized == 0;
}

}  // namespace

mpi_comm mpi_comm::duplicate(MPI_Comm original, const char* name, double deadline_seconds) {
  // On the heap, so that it can be left to MPI when a rank never comes.
  auto copy = std::make_unique<MPI_Comm>(MPI_COMM_NULL);
  MPI_Request request = MPI_REQUEST_NULL;
  BALLAST_MPI(MPI_Comm_idup(original, copy.get(), &request));
  if (!wait_until(request, deadline_seconds, nullptr)) {
    static_cast<void>(copy.release());
    throw error(BALLAST_ERROR_DEADLINE,
                fmt::format("{}: not all ranks took part within {} s", name, deadline_seconds));
  }
  return adopt(*copy, name);
}

mpi_comm mpi_comm::split(MPI_Comm all, int color, const char* name) {
  MPI_Comm part = MPI_COMM_NULL;
  BALLAST_MPI(MPI_Comm_split(all, color, 0, &part));
  return adopt(part, name);
}

mpi_comm mpi_comm::split_by_node(MPI_Comm all, const char* name) {
  MPI_Comm part = MPI_COMM_NULL;
  BALLAST_MPI(MPI_Comm_split_type(all, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, &part));
  return adopt(part, name);
}

mpi_comm mpi_comm::adopt(MPI_Comm comm, const char* name) {
  mpi_comm owned(comm);
  BALLAST_MPI(MPI_Comm_set_errhandler(owned.get(), MPI_ERRORS_RETURN));
  BALLAST_MPI(MPI_Comm_set_name(owned.get(), name));
  return owned;
}

mpi_comm& mpi_comm::operator=(mpi_comm&& other) noexcept {
  mpi_comm old(std::exchange(comm_, std::exchange(other.comm_, MPI_COMM_NULL)));
  return *this;
}

mpi_comm::~mpi_comm() {
  if (comm_ != MPI_COMM_NULL && mpi_is_usable()) MPI_Comm_free(&comm_);
}

int mpi_comm::rank() const {
  int rank = 0;
  BALLAST_MPI(MPI_Comm_rank(comm_, &rank));
  return rank;
}

int mpi_comm::size() const {
  int size = 0;
  BALLAST_MPI(MPI_Comm_size(comm_, &size));
  return size;
}

void require_intracommunicator(MPI_Comm comm) {
  if (!mpi_is_usable())
    throw error(BALLAST_ERROR_STATE, "MPI is not initialised, or is finalised already");
  if (comm == MPI_COMM_NULL) throw error(BALLAST_ERROR_INVALID_ARGUMENT, "comm is MPI_COMM_NULL");
  int is_inter = 0;
  BALLAST_MPI(MPI_Comm_test_inter(comm, &is_inter));
  if (is_inter != 0) throw error(BALLAST_ERROR_INVALID_ARGUMENT, "comm is an intercommunicator");
}

std::string why_thread_level_is_too_low() {
  int level = MPI_THREAD_SINGLE;
  int is_main = 0;
  BALLAST_MPI(MPI_Query_thread(&level));
  BALLAST_MPI(MPI_Is_thread_main(&is_main));
  if (level == MPI_THREAD_SINGLE) {
    return "MPI was initialised for one thread (MPI_THREAD_SINGLE), and the planner is a second "
           "one, though it does not call MPI: ask for MPI_THREAD_FUNNELED";
  }
  if (level == MPI_THREAD_FUNNELED && is_main == 0) {
    return "MPI was initialised by another thread, which alone may call it (MPI_THREAD_FUNNELED): "
           "ask for MPI_THREAD_SERIALIZED";
  }
  return {};
}

bool wait_until(MPI_Request& request, double deadline_seconds,
                const std::function<void()>& meanwhile) {
  steady_clock::time_point start;
  for (int round = 0;; ++round) {
    int done = 0;
    BALLAST_MPI(MPI_Test(&request, &done, MPI_STATUS_IGNORE));
    if (done != 0) return true;
    if (round == 0) start = steady_clock::now();
    if (meanwhile) meanwhile();
    if (round % 16 == 15) {
      if (seconds_since(start) > deadline_seconds) return false;
      sched_yield();
    }
  }
}

std::string silent_ranks(MPI_Comm comm, double seconds) {
  int rank = 0;
  int size = 0;
  BALLAST_MPI(MPI_Comm_rank(comm, &rank));
  BALLAST_MPI(MPI_Comm_size(comm, &size));
  // Left to MPI when a receiver never answers, so they must outlive this call.
  auto* requests = new std::vector<MPI_Request>(size, MPI_REQUEST_NULL);
  static const char here = 1;
  std::vector<bool> heard(size, false);
  heard[rank] = true;
  int missing = size - 1;
  for (int peer = 0; peer < size; ++peer) {
    if (peer != rank)
      BALLAST_MPI(MPI_Isend(&here, 1, MPI_CHAR, peer, roll_call_tag, comm, &(*requests)[peer]));
  }
  const auto start = steady_clock::now();
  while (missing > 0 && seconds_since(start) < seconds) {
    int found = 0;
    MPI_Status status;
    BALLAST_MPI(MPI_Iprobe(MPI_ANY_SOURCE, roll_call_tag, comm, &found, &status));
    if (found == 0) {
      sched_yield();
      continue;
    }
    char sign = 0;
    BALLAST_MPI(
        MPI_Recv(&sign, 1, MPI_CHAR, status.MPI_SOURCE, roll_call_tag, comm, MPI_STATUS_IGNORE));
    if (!heard[status.MPI_SOURCE]) --missing;
    heard[status.MPI_SOURCE] = true;
  }
  int sent = 0;
  BALLAST_MPI(MPI_Testall(size, requests->data(), &sent, MPI_STATUSES_IGNORE));
  if (sent != 0) delete requests;
  std::string names;
  for (int peer = 0; peer < size; ++peer) {
    if (!heard[peer]) names += (names.empty() ? "" : ", ") + std::to_string(peer);
  }
  return names;
}

}  // namespace ballast
