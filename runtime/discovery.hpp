#pragma once
// Every rank reads its own node; together they make one cluster map.

#include <mpi.h>

#include <string>
#include <vector>

#include "topology/cluster_map.hpp"

namespace ballast {

struct discovered_topology {
  cluster_map map;
  std::vector<node_description> nodes;  ///< by node
};

/// Collective, blocking up to the deadline. `source` and `ranks_per_node` as in
/// ballast_topology_create.
discovered_topology discover(MPI_Comm comm, const std::string& source, int ranks_per_node,
                             double deadline_seconds);

/// Local: a made-up cluster whose nodes all look like `source` ("": no devices).
discovered_topology imitate(int ranks, int ranks_per_node, const std::string& source);

}  // namespace ballast

/// The object behind the C handle.
struct ballast_topology {
  ballast::discovered_topology found;
};
