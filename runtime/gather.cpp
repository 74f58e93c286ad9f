#include "runtime/gather.hpp"

#include <fmt/format.h>

#include <cstdint>
#include <memory>

#include "runtime/error.hpp"
#include "runtime/mpi_handles.hpp"

namespace ballast {
namespace {

struct gathering {
  std::vector<std::byte> mine;
  int size = 0;
  std::vector<int> sizes;
  std::vector<int> offsets;
  std::vector<std::byte> all;
};

// Throws DEADLINE, and gives the buffers up, if the request does not complete.
void finish(MPI_Request& request, std::unique_ptr<gathering>& buffers, double deadline_seconds,
            const char* what) {
  if (wait_until(request, deadline_seconds, nullptr)) return;
  static_cast<void>(buffers.release());
  throw error(BALLAST_ERROR_DEADLINE,
              fmt::format("{}: not all ranks answered within {} s", what, deadline_seconds));
}

}  // namespace

std::vector<std::vector<std::byte>> gather_bytes(MPI_Comm comm, std::span<const std::byte> mine,
                                                 double deadline_seconds, const char* what) {
  int ranks = 0;
  BALLAST_MPI(MPI_Comm_size(comm, &ranks));
  auto g = std::make_unique<gathering>();
  g->mine.assign(mine.begin(), mine.end());
  g->size = static_cast<int>(mine.size());
  g->sizes.resize(ranks);
  g->offsets.resize(ranks);
  MPI_Request request = MPI_REQUEST_NULL;
  BALLAST_MPI(MPI_Iallgather(&g->size, 1, MPI_INT, g->sizes.data(), 1, MPI_INT, comm, &request));
  finish(request, g, deadline_seconds, what);
  std::int64_t total = 0;
  for (int r = 0; r < ranks; ++r) {
    g->offsets[r] = static_cast<int>(total);
    total += g->sizes[r];
    // The same on all ranks, so all throw.
    if (total > INT32_MAX)
      throw error(BALLAST_ERROR_SYSTEM, fmt::format("{}: more than 2 GiB over all ranks", what));
  }
  g->all.resize(static_cast<std::size_t>(total));
  BALLAST_MPI(MPI_Iallgatherv(g->mine.data(), g->size, MPI_BYTE, g->all.data(), g->sizes.data(),
                              g->offsets.data(), MPI_BYTE, comm, &request));
  finish(request, g, deadline_seconds, what);
  std::vector<std::vector<std::byte>> of_rank;
  for (int r = 0; r < ranks; ++r) {
    const auto begin = g->all.begin() + g->offsets[r];
    of_rank.emplace_back(begin, begin + g->sizes[r]);
  }
  return of_rank;
}

bool meet(MPI_Comm comm, double deadline_seconds) {
  MPI_Request request = MPI_REQUEST_NULL;
  BALLAST_MPI(MPI_Ibarrier(comm, &request));
  return wait_until(request, deadline_seconds, nullptr);
}

}  // namespace ballast
