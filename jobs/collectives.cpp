#include "jobs/collectives.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <sched.h>

#include <algorithm>
#include <chrono>
#include <vector>

#include "jobs/exit_code.hpp"

namespace ballast {
namespace {

constexpr int roll_call_tag = 0x726f;
constexpr double roll_call_seconds = 1;

/// False if not all are done in time.
bool done_within(std::span<MPI_Request> requests, double seconds) {
  using clock = std::chrono::steady_clock;
  const clock::time_point start = clock::now();
  for (;;) {
    int done = 0;
    MPI_Testall(static_cast<int>(requests.size()), requests.data(), &done, MPI_STATUSES_IGNORE);
    if (done != 0) return true;
    if (std::chrono::duration<double>(clock::now() - start).count() > seconds) return false;
    sched_yield();
  }
}

}  // namespace

void collectives::wait(MPI_Request& request) const {
  if (done_within({&request, 1}, deadline_seconds_)) return;
  const std::string silent = silent_ranks();
  throw job_error(exit_code::temporary,
                  silent.empty()
                      ? fmt::format("this rank, or one that is here again, was silent for {} s",
                                    deadline_seconds_)
                      : fmt::format("no answer from {} within {} s", silent, deadline_seconds_));
}

// Ranks that wait for the same collective come here at about the same time.
std::string collectives::silent_ranks() const {
  int rank = 0;
  int ranks = 1;
  MPI_Comm_rank(comm_, &rank);
  MPI_Comm_size(comm_, &ranks);
  std::vector<MPI_Request> requests(2 * static_cast<std::size_t>(ranks), MPI_REQUEST_NULL);
  for (int other = 0; other < ranks; ++other) {
    if (other == rank) continue;
    MPI_Irecv(nullptr, 0, MPI_BYTE, other, roll_call_tag, comm_, &requests[other]);
    MPI_Isend(nullptr, 0, MPI_BYTE, other, roll_call_tag, comm_, &requests[ranks + other]);
  }
  done_within(std::span(requests).first(ranks), roll_call_seconds);
  std::vector<int> silent;
  for (int other = 0; other < ranks; ++other) {
    int here = 1;
    if (other != rank) MPI_Request_get_status(requests[other], &here, MPI_STATUS_IGNORE);
    if (here == 0) silent.push_back(other);
  }
  if (silent.empty()) return "";
  constexpr std::size_t named_max = 16;
  const std::size_t named = std::min(silent.size(), named_max);
  return fmt::format(
      "{} {}{}", silent.size() == 1 ? "rank" : "ranks",
      fmt::join(silent.begin(), silent.begin() + named, ", "),
      silent.size() > named ? fmt::format(" and {} more", silent.size() - named) : "");
}

void collectives::all_reduce(void* values, std::size_t count, MPI_Datatype type, MPI_Op op) const {
  MPI_Request request = MPI_REQUEST_NULL;
  MPI_Iallreduce(MPI_IN_PLACE, values, static_cast<int>(count), type, op, comm_, &request);
  wait(request);
}

void collectives::broadcast(void* values, std::size_t count, MPI_Datatype type, int root) const {
  MPI_Request request = MPI_REQUEST_NULL;
  MPI_Ibcast(values, static_cast<int>(count), type, root, comm_, &request);
  wait(request);
}

void collectives::exchange_counts(std::span<const int> to, std::span<int> from) const {
  MPI_Request request = MPI_REQUEST_NULL;
  MPI_Ialltoall(to.data(), 1, MPI_INT, from.data(), 1, MPI_INT, comm_, &request);
  wait(request);
}

void collectives::exchange(const void* sent, const parts& to, void* received, const parts& from,
                           MPI_Datatype type) const {
  MPI_Request request = MPI_REQUEST_NULL;
  MPI_Ialltoallv(sent, to.counts.data(), to.offsets.data(), type, received, from.counts.data(),
                 from.offsets.data(), type, comm_, &request);
  wait(request);
}

void collectives::together(const std::function<void()>& work) const {
  int rank = 0;
  int ranks = 1;
  MPI_Comm_rank(comm_, &rank);
  MPI_Comm_size(comm_, &ranks);
  int code = 0;
  std::string text;
  try {
    work();
  } catch (...) {
    const job_error failure = current_job_error();
    code = static_cast<int>(failure.code());
    text = failure.what();
  }
  int failed = code == 0 ? ranks : rank;
  all_reduce(&failed, 1, MPI_INT, MPI_MIN);
  if (failed == ranks) return;
  int head[2] = {code, static_cast<int>(text.size())};
  broadcast(head, 2, MPI_INT, failed);
  text.resize(head[1]);
  broadcast(text.data(), text.size(), MPI_CHAR, failed);
  throw job_error(static_cast<exit_code>(head[0]),
                  failed == 0 ? text : fmt::format("rank {}: {}", failed, text));
}

}  // namespace ballast
