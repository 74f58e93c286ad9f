// Where ranks are placed: uniform clusters, and the merge of what each node's lowest rank reported.

#include "topology/cluster_map.hpp"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <stdexcept>

namespace ballast {
namespace {

// A node of `gpus` GPUs over two NUMA nodes and packages, a NIC for each two GPUs, no NVLink yet.
node_description made_up_node(int gpus, int numa_nodes = 2) {
  node_description node;
  node.packages = numa_nodes;
  for (int numa = 0; numa < numa_nodes; ++numa)
    node.numa_nodes.push_back({numa, {2 * numa, 2 * numa + 1}});
  for (int gpu = 0; gpu < gpus; ++gpu) {
    const int numa = gpu * numa_nodes / gpus;
    node.gpus.push_back(
        {fmt::format("0000:{:02x}:00.0", gpu), "", "", numa, numa, {2 * numa}, gpu / 2});
    if (gpu % 2 == 0)
      node.nics.push_back({fmt::format("0000:{:02x}:01.0", gpu), "mlx5", numa, numa});
  }
  node.nvlink_mb_per_s.assign(static_cast<std::size_t>(gpus) * gpus, 0);
  return node;
}

void join(node_description& node, int a, int b) {
  node.nvlink_mb_per_s[a * node.gpus.size() + b] = 25000;
}

std::vector<rank_report> on_one_node(int ranks, const node_description& node) {
  std::vector<rank_report> reports(ranks);
  reports[0].description = node;
  return reports;
}

std::vector<int> islands_of(const cluster_map& map) {
  std::vector<int> islands;
  for (const rank_place& place : map.ranks) islands.push_back(place.island);
  return islands;
}

std::string refusal(std::span<const rank_report> reports) {
  try {
    merge_reports(reports);
  } catch (const std::invalid_argument& error) {
    return error.what();
  }
  return "accepted";
}

TEST(cluster_map, uniform_cluster_numbers_nodes_in_blocks_and_the_last_may_be_short) {
  const cluster_map map = uniform_cluster(7, 3);
  EXPECT_EQ(map.rank_count(), 7);
  EXPECT_EQ(map.node_count(), 3);
  EXPECT_EQ(map.island_count(), 3);
  for (int rank = 0; rank < 7; ++rank) {
    EXPECT_EQ(map.ranks[rank], (rank_place{rank / 3, rank / 3, rank % 3, -1, -1, -1, -1})) << rank;
  }
}

TEST(cluster_map, uniform_cluster_refuses_counts_below_one) {
  EXPECT_THROW(uniform_cluster(0, 1), std::invalid_argument);
  EXPECT_THROW(uniform_cluster(-3, 1), std::invalid_argument);
  EXPECT_THROW(uniform_cluster(1, 0), std::invalid_argument);
  EXPECT_EQ(uniform_cluster(1, 1000).node_count(), 1);
}

TEST(cluster_map, an_empty_map_has_no_nodes_and_no_islands) {
  EXPECT_EQ(cluster_map{}.node_count(), 0);
  EXPECT_EQ(cluster_map{}.island_count(), 0);
  EXPECT_THROW(cluster_map{}.link(0, 0), std::out_of_range);
}

TEST(cluster_map, link_is_the_nearest_way_between_two_ranks) {
  node_description node = made_up_node(4);
  join(node, 0, 1);
  std::vector<rank_report> reports(6);
  reports[0].description = node;
  reports[4] = {4, made_up_node(0)};
  reports[5].node_leader = 4;
  const cluster_map map = merge_reports(reports);
  EXPECT_EQ(map.link(0, 0), link_class::local);
  EXPECT_EQ(map.link(0, 1), link_class::island);
  EXPECT_EQ(map.link(1, 0), link_class::island);
  EXPECT_EQ(map.link(0, 2), link_class::node);
  EXPECT_EQ(map.link(2, 3), link_class::node);
  EXPECT_EQ(map.link(0, 4), link_class::remote);
  EXPECT_EQ(map.link(4, 5), link_class::island);
  EXPECT_THROW(map.link(0, 6), std::out_of_range);
  EXPECT_THROW(map.link(-1, 0), std::out_of_range);
}

TEST(cluster_map, link_classes_have_the_names_of_the_tables) {
  EXPECT_STREQ(to_string(link_class::local), "local");
  EXPECT_STREQ(to_string(link_class::island), "island");
  EXPECT_STREQ(to_string(link_class::node), "node");
  EXPECT_STREQ(to_string(link_class::remote), "remote");
}

TEST(merge_reports, ranks_take_gpus_in_bus_order_with_their_numa_node_and_nic) {
  const cluster_map map = merge_reports(on_one_node(4, made_up_node(4)));
  for (int rank = 0; rank < 4; ++rank) {
    EXPECT_EQ(map.ranks[rank], (rank_place{0, rank, rank, rank / 2, rank / 2, rank, rank / 2}))
        << rank;
  }
}

TEST(merge_reports, more_ranks_than_gpus_share_them_and_their_island) {
  const cluster_map map = merge_reports(on_one_node(5, made_up_node(2)));
  EXPECT_EQ(islands_of(map), (std::vector<int>{0, 1, 0, 1, 0}));
  EXPECT_EQ(map.ranks[4].gpu, 0);
  EXPECT_EQ(map.link(0, 4), link_class::island);
}

TEST(merge_reports, islands_join_through_gpus_of_ranks_only) {
  node_description node = made_up_node(3);
  join(node, 0, 2);
  join(node, 2, 1);
  EXPECT_EQ(islands_of(merge_reports(on_one_node(3, node))), (std::vector<int>{0, 0, 0}));
  EXPECT_EQ(islands_of(merge_reports(on_one_node(2, node))), (std::vector<int>{0, 1}));
}

TEST(merge_reports, a_node_without_gpus_is_one_island_with_ranks_spread_over_numa_nodes_in_blocks) {
  const cluster_map map = merge_reports(on_one_node(5, made_up_node(0, 2)));
  EXPECT_EQ(map.island_count(), 1);
  std::vector<int> numa;
  for (const rank_place& place : map.ranks) numa.push_back(place.numa);
  EXPECT_EQ(numa, (std::vector<int>{0, 0, 0, 1, 1}));
  EXPECT_EQ(map.ranks[0].gpu, -1);
  EXPECT_EQ(map.ranks[0].nic, -1);
}

TEST(merge_reports,
     ranks_without_gpus_skip_numa_nodes_without_cpus_and_take_the_nic_of_their_numa_node) {
  node_description node = made_up_node(0, 3);
  node.numa_nodes[1].cpus.clear();
  node.nics = {{"0000:01:00.0", "a", 0, 0}, {"0000:02:00.0", "b", 2, 2}};
  const cluster_map map = merge_reports(on_one_node(2, node));
  EXPECT_EQ(map.ranks[0].numa, 0);
  EXPECT_EQ(map.ranks[0].nic, 0);
  EXPECT_EQ(map.ranks[1].numa, 2);
  EXPECT_EQ(map.ranks[1].package, 2);
  EXPECT_EQ(map.ranks[1].nic, 1);
}

TEST(merge_reports, nodes_are_numbered_by_their_lowest_rank_whatever_the_rank_order) {
  std::vector<rank_report> reports(6);
  for (int rank = 0; rank < 6; ++rank) reports[rank] = {rank % 2, made_up_node(0)};  // round robin
  const cluster_map map = merge_reports(reports);
  EXPECT_EQ(map.node_count(), 2);
  for (int rank = 0; rank < 6; ++rank) {
    EXPECT_EQ(map.ranks[rank].node, rank % 2);
    EXPECT_EQ(map.ranks[rank].island, rank % 2);
    EXPECT_EQ(map.ranks[rank].local_rank, rank / 2);
  }
}

TEST(merge_reports, only_the_leaders_description_counts) {
  std::vector<rank_report> reports = on_one_node(3, made_up_node(2));
  const cluster_map map = merge_reports(reports);
  reports[1].description = made_up_node(7);
  reports[2].description.packages = -5;
  EXPECT_EQ(merge_reports(reports), map);
}

TEST(merge_reports, impossible_reports_are_refused_naming_the_rank) {
  EXPECT_NE(refusal({}).find("no rank"), std::string::npos);
  std::vector<rank_report> reports = on_one_node(4, made_up_node(0));
  reports[3].node_leader = 4;
  EXPECT_EQ(refusal(reports), "cluster map: rank 3 names rank 4 as its node's lowest");
  reports[1].node_leader = 2;
  reports[2] = {2, made_up_node(0)};
  EXPECT_EQ(refusal(reports), "cluster map: rank 1 names rank 2 as its node's lowest");
  reports[1].node_leader = reports[2].node_leader = 0;
  reports[3].node_leader = -1;
  EXPECT_EQ(refusal(reports), "cluster map: rank 3 names rank -1 as its node's lowest");
  reports[3].node_leader = 1;
  EXPECT_EQ(refusal(reports),
            "cluster map: rank 3 names rank 1 as its node's lowest, which names rank 0");
  reports[3].node_leader = 3;  // without a description
  EXPECT_EQ(refusal(reports).rfind("cluster map: rank 3: node description: ", 0), 0u)
      << refusal(reports);
  reports[3] = {3, made_up_node(2)};
  reports[3].description.gpus[1].nearest_nic = 9;
  EXPECT_NE(refusal(reports).find("rank 3: node description: GPU's nearest NIC is 9"),
            std::string::npos);
}

// The same question answered the slow way: ranks joined pair by pair until nothing changes.
std::vector<int> islands_by_pairs(const std::vector<rank_report>& reports, const cluster_map& map) {
  const int ranks = map.rank_count();
  std::vector<int> lowest(ranks);
  for (int rank = 0; rank < ranks; ++rank) lowest[rank] = rank;
  for (bool changed = true; changed;) {
    changed = false;
    for (int a = 0; a < ranks; ++a) {
      for (int b = 0; b < ranks; ++b) {
        if (reports[a].node_leader != reports[b].node_leader || lowest[a] == lowest[b]) continue;
        const node_description& node = reports[reports[a].node_leader].description;
        const int gpus = static_cast<int>(node.gpus.size());
        const int gpu_a = gpus ? map.ranks[a].local_rank % gpus : 0;
        const int gpu_b = gpus ? map.ranks[b].local_rank % gpus : 0;
        if (gpu_a != gpu_b && node.nvlink_mb_per_s[gpu_a * gpus + gpu_b] == 0) continue;
        lowest[a] = lowest[b] = std::min(lowest[a], lowest[b]);
        changed = true;
      }
    }
  }
  return lowest;
}

TEST(merge_reports, random_clusters_have_the_islands_of_the_pairwise_closure) {
  for (unsigned seed = 1; seed <= 300; ++seed) {
    SCOPED_TRACE(fmt::format("seed {}", seed));
    std::mt19937 random(seed);
    const auto below = [&](unsigned n) { return static_cast<int>(random() % n); };
    const int ranks = 1 + below(23);
    std::vector<rank_report> reports(ranks);
    std::vector<int> leaders;
    for (int rank = 0; rank < ranks; ++rank) {
      if (leaders.empty() || below(4) == 0) {
        leaders.push_back(rank);
        node_description node = made_up_node(below(6), 1 + below(3));
        const int gpus = static_cast<int>(node.gpus.size());
        for (int link = below(6); gpus > 1 && link > 0; --link) {
          const int a = below(gpus), b = below(gpus);
          if (a != b) join(node, a, b);
        }
        reports[rank].description = node;
      }
      reports[rank].node_leader =
          leaders[leaders.back() == rank ? leaders.size() - 1 : below(leaders.size())];
    }
    const cluster_map map = merge_reports(reports);
    const std::vector<int> lowest = islands_by_pairs(reports, map);
    EXPECT_EQ(map.node_count(), static_cast<int>(leaders.size()));
    int islands = 0;
    for (int rank = 0; rank < ranks; ++rank) {
      const rank_place& place = map.ranks[rank];
      EXPECT_EQ(leaders[place.node], reports[rank].node_leader);
      EXPECT_EQ(place.island, lowest[rank] == rank ? islands : map.ranks[lowest[rank]].island)
          << rank;
      if (lowest[rank] == rank) ++islands;
      for (int other = 0; other < ranks; ++other)
        EXPECT_EQ(map.link(rank, other), map.link(other, rank));
    }
    EXPECT_EQ(map.island_count(), islands);
  }
}

}  // namespace
}  // namespace ballast
