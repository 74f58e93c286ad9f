#include "runtime/cuda/peer_islands.hpp"

#include <algorithm>
#include <array>
#include <vector>

#include "runtime/cuda/cuda_error.hpp"
#include "runtime/error.hpp"
#include "runtime/gather.hpp"

namespace ballast {
namespace {

using bus_id = std::array<char, 32>;

bool reaches(int device, const bus_id& other) {
  int peer = 0;
  if (cudaDeviceGetByPCIBusId(&peer, other.data()) != cudaSuccess) {
    cudaGetLastError();
    return false;
  }
  if (peer == device) return true;
  int possible = 0;
  BALLAST_CUDA(cudaDeviceCanAccessPeer(&possible, device, peer));
  return possible != 0;
}

}  // namespace

void join_islands_by_peer_access(cluster_map& map, MPI_Comm comm, int device,
                                 double deadline_seconds) {
  int rank = 0;
  BALLAST_MPI(MPI_Comm_rank(comm, &rank));
  bus_id mine = {};
  BALLAST_CUDA(cudaDeviceGetPCIBusId(mine.data(), static_cast<int>(mine.size()), device));
  const std::vector<bus_id> ids = gather_one(comm, mine, deadline_seconds, "the GPU of each rank");
  int lowest = rank;  // that this rank reaches
  for (int other = rank - 1; other >= 0; --other) {
    if (map.ranks[other].node == map.ranks[rank].node && reaches(device, ids[other]))
      lowest = other;
  }
  const std::vector<int> lowest_of =
      gather_one(comm, lowest, deadline_seconds, "the GPU of each rank");
  // Islands are numbered over the cluster by their first rank.
  std::vector<std::int32_t> before;
  for (const rank_place& place : map.ranks) before.push_back(place.island);
  for (int r = 0; r < map.rank_count(); ++r) {
    if (lowest_of[r] != r) {
      const std::int32_t joined = before[r];
      std::ranges::replace(before, joined, before[lowest_of[r]]);
    }
  }
  std::vector<std::int32_t> seen;
  for (int r = 0; r < map.rank_count(); ++r) {
    auto at = std::ranges::find(seen, before[r]);
    if (at == seen.end()) at = seen.insert(seen.end(), before[r]);
    map.ranks[r].island = static_cast<std::int32_t>(at - seen.begin());
  }
}

}  // namespace ballast
