#pragma once
// Which ranks' GPUs reach each other: hwloc knows NVLink only where it was built with NVML, CUDA
// always does.

#include <mpi.h>

#include "topology/cluster_map.hpp"

namespace ballast {

/// Collective, blocking up to the deadline. Ranks of a node whose devices can access each other's
/// memory become one island; the others keep theirs. A rank that cannot see the devices of its
/// node's other ranks (CUDA_VISIBLE_DEVICES) reaches none of them.
void join_islands_by_peer_access(cluster_map& map, MPI_Comm comm, int device,
                                 double deadline_seconds);

}  // namespace ballast
