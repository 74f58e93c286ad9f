#include "topology/cluster_map.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstddef>
#include <stdexcept>

namespace ballast {
namespace {

// The lowest rank of every rank's node, checked: with it, a rank's node and its local rank are
// certain.
std::vector<int> checked_leaders(std::span<const rank_report> reports) {
  if (reports.empty()) throw std::invalid_argument("cluster map: no rank reported");
  std::vector<int> leaders(reports.size());
  for (int rank = 0; rank < static_cast<int>(reports.size()); ++rank) {
    const int leader = reports[rank].node_leader;
    if (leader < 0 || leader > rank) {
      throw std::invalid_argument(
          fmt::format("cluster map: rank {} names rank {} as its node's lowest", rank, leader));
    }
    if (reports[leader].node_leader != leader) {
      throw std::invalid_argument(fmt::format(
          "cluster map: rank {} names rank {} as its node's lowest, which names rank {}", rank,
          leader, reports[leader].node_leader));
    }
    leaders[rank] = leader;
  }
  return leaders;
}

void check_description(const node_description& node, int leader) {
  try {
    encode(node);  // checks every count and index that the merge follows
  } catch (const std::invalid_argument& error) {
    throw std::invalid_argument(fmt::format("cluster map: rank {}: {}", leader, error.what()));
  }
}

// The NUMA nodes that ranks without a GPU spread over: those with CPUs, for others are memory only.
std::vector<int> numa_nodes_with_cpus(const node_description& node) {
  std::vector<int> found;
  for (int numa = 0; numa < static_cast<int>(node.numa_nodes.size()); ++numa) {
    if (!node.numa_nodes[numa].cpus.empty()) found.push_back(numa);
  }
  if (found.empty()) found.push_back(0);
  return found;
}

// Without a GPU to start from, a NIC is near by NUMA node, then by package; -1 if the node has
// none.
int nic_near_numa(const node_description& node, int numa) {
  int nearest = -1;
  int best = -1;
  for (int nic = 0; nic < static_cast<int>(node.nics.size()); ++nic) {
    const int nearness = node.nics[nic].numa == numa                               ? 2
                         : node.nics[nic].package == node.numa_nodes[numa].package ? 1
                                                                                   : 0;
    if (nearness > best) {
      best = nearness;
      nearest = nic;
    }
  }
  return nearest;
}

// For each of the first `used` GPUs the lowest of them that it reaches over NVLink, itself
// included.
std::vector<int> lowest_linked_gpu(const node_description& node, int used) {
  const std::size_t gpus = node.gpus.size();
  std::vector<int> lowest(used, -1);
  std::vector<int> pending;
  for (int start = 0; start < used; ++start) {
    if (lowest[start] != -1) continue;
    lowest[start] = start;
    pending.assign(1, start);
    while (!pending.empty()) {
      const int from = pending.back();
      pending.pop_back();
      for (int to = 0; to < used; ++to) {
        const bool linked = node.nvlink_mb_per_s[from * gpus + to] > 0 ||
                            node.nvlink_mb_per_s[to * gpus + from] > 0;
        if (!linked || lowest[to] != -1) continue;
        lowest[to] = start;
        pending.push_back(to);
      }
    }
  }
  return lowest;
}

// Places the ranks of one node, `members` ascending, and writes the lowest rank of each one's
// island.
void place_node(const node_description& node, std::span<const int> members,
                std::span<rank_place> places, std::span<int> island_leaders) {
  const auto count = static_cast<std::int64_t>(members.size());
  const int gpus = static_cast<int>(node.gpus.size());
  const std::vector<int> spread = numa_nodes_with_cpus(node);
  const std::vector<int> lowest =
      lowest_linked_gpu(node, static_cast<int>(std::min<std::int64_t>(gpus, count)));
  for (std::int64_t local = 0; local < count; ++local) {
    rank_place& place = places[members[local]];
    place.local_rank = static_cast<std::int32_t>(local);
    if (gpus > 0) {
      place.gpu = static_cast<std::int32_t>(local % gpus);
      place.numa = node.gpus[place.gpu].numa;
      place.package = node.gpus[place.gpu].package;
      place.nic = node.gpus[place.gpu].nearest_nic;
      // The first ranks have one GPU each, so GPU g's first rank is members[g].
      island_leaders[members[local]] = members[lowest[place.gpu]];
    } else {
      place.numa = spread[local * static_cast<std::int64_t>(spread.size()) / count];
      place.package = node.numa_nodes[place.numa].package;
      place.nic = nic_near_numa(node, place.numa);
      island_leaders[members[local]] = members[0];
    }
  }
}

}  // namespace

const char* to_string(link_class link) {
  switch (link) {
    case link_class::local:
      return "local";
    case link_class::island:
      return "island";
    case link_class::node:
      return "node";
    case link_class::remote:
      return "remote";
  }
  return "unknown";
}

int cluster_map::node_count() const {
  int count = 0;
  for (const rank_place& place : ranks) count = std::max(count, place.node + 1);
  return count;
}

int cluster_map::island_count() const {
  int count = 0;
  for (const rank_place& place : ranks) count = std::max(count, place.island + 1);
  return count;
}

link_class cluster_map::link(int from_rank, int to_rank) const {
  const rank_place& from = ranks.at(from_rank);
  const rank_place& to = ranks.at(to_rank);
  if (from_rank == to_rank) return link_class::local;
  if (from.island == to.island) return link_class::island;
  if (from.node == to.node) return link_class::node;
  return link_class::remote;
}

cluster_map uniform_cluster(int ranks, int ranks_per_node) {
  if (ranks < 1)
    throw std::invalid_argument(
        fmt::format("cluster map: ranks is {}, at least 1 is needed", ranks));
  if (ranks_per_node < 1) {
    throw std::invalid_argument(
        fmt::format("cluster map: ranks per node is {}, at least 1 is needed", ranks_per_node));
  }
  cluster_map map;
  map.ranks.resize(ranks);
  for (int rank = 0; rank < ranks; ++rank) {
    map.ranks[rank].node = map.ranks[rank].island = rank / ranks_per_node;
    map.ranks[rank].local_rank = rank % ranks_per_node;
  }
  return map;
}

cluster_map merge_reports(std::span<const rank_report> reports) {
  const std::vector<int> leaders = checked_leaders(reports);
  const int ranks = static_cast<int>(reports.size());
  cluster_map map;
  map.ranks.resize(ranks);

  std::vector<std::vector<int>> members;  // [nodes], ranks ascending
  for (int rank = 0; rank < ranks; ++rank) {
    if (leaders[rank] == rank) {
      map.ranks[rank].node = static_cast<std::int32_t>(members.size());
      members.emplace_back();
    }
    map.ranks[rank].node = map.ranks[leaders[rank]].node;
    members[map.ranks[rank].node].push_back(rank);
  }

  std::vector<int> island_leaders(ranks);
  for (const std::vector<int>& node_members : members) {
    const node_description& node = reports[node_members[0]].description;
    check_description(node, node_members[0]);
    place_node(node, node_members, map.ranks, island_leaders);
  }

  int islands = 0;  // numbered by their lowest rank, as nodes are
  for (int rank = 0; rank < ranks; ++rank) {
    map.ranks[rank].island =
        island_leaders[rank] == rank ? islands++ : map.ranks[island_leaders[rank]].island;
  }
  return map;
}

}  // namespace ballast
