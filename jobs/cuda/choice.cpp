#include "jobs/cuda/choice.hpp"

#include <cuda_runtime_api.h>

#include <algorithm>
#include <cstring>
#include <vector>

namespace ballast::gpu {
namespace {

struct gpu_of_rank {
  int rank = 0;
  int present = 0;
  cudaUUID_t id = {};
  bool is(const gpu_of_rank& other) const {
    return present != 0 && other.present != 0 && std::memcmp(&id, &other.id, sizeof(id)) == 0;
  }
};

// Alone on a rank this must not throw: the others wait in choose().
gpu_of_rank take(choice& made, int local_rank) {
  gpu_of_rank taken;
  int count = 0;
  cudaDeviceProp found = {};
  cudaError_t code = cudaGetDeviceCount(&count);
  if (code == cudaSuccess && count > 0) code = cudaGetDeviceProperties(&found, local_rank % count);
  if (code != cudaSuccess || count == 0) {
    cudaGetLastError();
    made.why_none = code != cudaSuccess ? cudaGetErrorString(code) : "none is visible";
    return taken;
  }
  made.device = local_rank % count;
  made.model = found.name;
  taken.present = 1;
  taken.id = found.uuid;
  return taken;
}

}  // namespace

choice choose(const mpi_session& mpi) {
  MPI_Comm node = MPI_COMM_NULL;
  MPI_Comm_split_type(mpi.comm(), MPI_COMM_TYPE_SHARED, mpi.rank(), MPI_INFO_NULL, &node);
  int local_rank = 0;
  int local_ranks = 1;
  MPI_Comm_rank(node, &local_rank);
  MPI_Comm_size(node, &local_ranks);
  choice made;
  gpu_of_rank mine = take(made, local_rank);
  mine.rank = mpi.rank();
  std::vector<gpu_of_rank> all(local_ranks);
  MPI_Allgather(&mine, sizeof(mine), MPI_BYTE, all.data(), sizeof(mine), MPI_BYTE, node);
  MPI_Comm_free(&node);
  made.first_sharer = mpi.rank();
  for (const gpu_of_rank& other : all) {
    if (!other.is(mine)) continue;
    ++made.sharers;
    made.first_sharer = std::min(made.first_sharer, other.rank);
  }
  return made;
}

}  // namespace ballast::gpu
