#pragma once
// Where the ranks are, as plain integers that every rank holds alike: node, island, NUMA node, GPU
// and NIC of each rank, and what a byte costs between two of them. Made by merging the description
// that each rank read of its own node (node_description.hpp).

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "topology/node_description.hpp"

namespace ballast {

/// How two ranks reach each other, nearest first.
enum class link_class : std::uint8_t { local = 0, island = 1, node = 2, remote = 3 };
inline constexpr int link_class_count = 4;
const char* to_string(link_class link);

/// Node and island are numbered over the whole cluster; the rest are indices inside the node, -1 if
/// none.
struct rank_place {
  std::int32_t node = 0;
  std::int32_t island = 0;
  std::int32_t local_rank = 0;
  std::int32_t package = -1;
  std::int32_t numa = -1;
  std::int32_t gpu = -1;
  std::int32_t nic = -1;
  bool operator==(const rank_place&) const = default;
};

struct cluster_map {
  std::vector<rank_place> ranks;
  /// Nanoseconds to move one MiB over a link of each class, with the link to itself.
  std::array<std::int64_t, link_class_count> cost_ns_per_mib = default_costs;

  /// local 33 us per 42 MiB, island 361 GB/s, node (PCIe) 25 GB/s, remote 45 GB/s of an NDR port.
  static constexpr std::array<std::int64_t, link_class_count> default_costs = {800, 2905, 41943,
                                                                               23302};

  int rank_count() const { return static_cast<int>(ranks.size()); }
  int node_count() const;
  int island_count() const;
  link_class link(int from_rank, int to_rank) const;
  bool operator==(const cluster_map&) const = default;
};

/// `ranks` ranks without devices, `ranks_per_node` to a node (the last node may have fewer), every
/// node one island. Throws std::invalid_argument if either is < 1.
cluster_map uniform_cluster(int ranks, int ranks_per_node);

/// What each rank contributes to the merge.
struct rank_report {
  std::int32_t node_leader = 0;  ///< lowest rank of the node this rank runs on
  node_description description;  ///< of that node; only the leader's is used
};

/// Merges one report per rank. Nodes are numbered by their leader's rank. The i-th rank of a node
/// gets the i-th GPU of its description by PCI bus id (modulo their number), that GPU's NUMA node
/// and the NIC nearest to it; without GPUs ranks spread in blocks over the NUMA nodes that have
/// CPUs, with the first NIC of the NUMA node, else of the package, else of the node. Islands are
/// the connected components of NVLink among the node's ranks, and are numbered by their lowest
/// rank; ranks that share a GPU share its island; a rank without a GPU is in its node's
/// shared-memory island. Throws std::invalid_argument naming the rank whose leader is impossible or
/// whose description encode() refuses.
cluster_map merge_reports(std::span<const rank_report> reports);

}  // namespace ballast
