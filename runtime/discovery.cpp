#include "runtime/discovery.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "runtime/agreement.hpp"
#include "runtime/error.hpp"
#include "runtime/gather.hpp"
#include "topology/hwloc_node.hpp"

namespace ballast {
namespace {

// The lowest rank of `comm` on this rank's node.
int node_leader(MPI_Comm comm, int rank, int ranks_per_node) {
  if (ranks_per_node > 0) return rank / ranks_per_node * ranks_per_node;
  MPI_Comm node = MPI_COMM_NULL;
  BALLAST_MPI(MPI_Comm_split_type(comm, MPI_COMM_TYPE_SHARED, rank, MPI_INFO_NULL, &node));
  int leader = rank;
  const int code = MPI_Bcast(&leader, 1, MPI_INT, 0, node);
  MPI_Comm_free(&node);
  check_mpi(code, "MPI_Bcast(leader)");
  return leader;
}

discovered_topology merge(const std::vector<rank_report>& reports) {
  discovered_topology found{merge_reports(reports), {}};
  found.nodes.resize(found.map.node_count());
  for (std::size_t r = 0; r < reports.size(); ++r) {
    if (reports[r].node_leader == static_cast<int>(r))
      found.nodes[found.map.ranks[r].node] = reports[r].description;
  }
  return found;
}

}  // namespace

discovered_topology discover(MPI_Comm comm, const std::string& source, int ranks_per_node,
                             double deadline_seconds) {
  int rank = 0;
  int ranks = 0;
  BALLAST_MPI(MPI_Comm_rank(comm, &rank));
  BALLAST_MPI(MPI_Comm_size(comm, &ranks));
  node_description mine;
  const verdict readable = verdict_of([&] {
    if (ranks_per_node < 0) {
      throw error(BALLAST_ERROR_INVALID_ARGUMENT,
                  fmt::format("ranks_per_node is {}, expected 0 or more", ranks_per_node));
    }
    mine = read_node(source);
  });
  agree(comm, readable, {{"ranks_per_node", ranks_per_node}}, deadline_seconds);

  const int leader = node_leader(comm, rank, ranks_per_node);
  const std::vector<std::byte> bytes = leader == rank ? encode(mine) : std::vector<std::byte>();
  const std::vector<int> leaders = gather_one(comm, leader, deadline_seconds, "the ranks' nodes");
  const std::vector<std::vector<std::byte>> descriptions =
      gather_bytes(comm, bytes, deadline_seconds, "the descriptions of the nodes");
  std::vector<rank_report> reports(ranks);
  for (int r = 0; r < ranks; ++r) {
    reports[r].node_leader = leaders[r];
    if (!descriptions[r].empty()) reports[r].description = decode_node_description(descriptions[r]);
  }
  return merge(reports);
}

discovered_topology imitate(int ranks, int ranks_per_node, const std::string& source) {
  if (source.empty()) {
    discovered_topology found{uniform_cluster(ranks, ranks_per_node), {}};
    found.nodes.resize(found.map.node_count());
    return found;
  }
  const node_description node = read_node(source);
  if (ranks < 1 || ranks_per_node < 1) {
    throw error(
        BALLAST_ERROR_INVALID_ARGUMENT,
        fmt::format("ranks is {}, ranks_per_node {}: expected 1 or more", ranks, ranks_per_node));
  }
  std::vector<rank_report> reports(ranks);
  for (int r = 0; r < ranks; ++r) {
    reports[r].node_leader = r / ranks_per_node * ranks_per_node;
    if (reports[r].node_leader == r) reports[r].description = node;
  }
  return merge(reports);
}

}  // namespace ballast
