#include "runtime/discovery.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "runtime/agreement.hpp"
#include "runtime/error.hpp"
#include "runtime/gather.hpp"
#include "runtime/mpi_handles.hpp"
#include "topology/hwloc_node.hpp"

namespace ballast {
namespace {

// The lowest rank of `comm` on this rank's node. MPI can only block here, so all ranks must be
// known to have come.
int node_leader(MPI_Comm comm, int rank, int ranks_per_node) {
  if (ranks_per_node > 0) return rank / ranks_per_node * ranks_per_node;
  const mpi_comm node = mpi_comm::split_by_node(comm, "ballast node");
  MPI_Group here = MPI_GROUP_NULL;
  MPI_Group all = MPI_GROUP_NULL;
  const int first = 0;
  int leader = rank;
  BALLAST_MPI(MPI_Comm_group(node.get(), &here));
  BALLAST_MPI(MPI_Comm_group(comm, &all));
  BALLAST_MPI(MPI_Group_translate_ranks(here, 1, &first, all, &leader));
  MPI_Group_free(&here);
  MPI_Group_free(&all);
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
