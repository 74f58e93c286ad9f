// The C interface of topologies: imitated clusters against what their XML says, and the real
// machine read by all ranks.
#include <gtest/gtest.h>

#include <cstring>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "runtime/ballast.h"

namespace ballast::testing {
namespace {

struct topology_deleter {
  void operator()(ballast_topology* topology) const { ballast_topology_destroy(topology); }
};
using topology_handle = std::unique_ptr<ballast_topology, topology_deleter>;

topology_handle imitate(int ranks, int ranks_per_node, const char* source = nullptr) {
  ballast_topology* made = nullptr;
  EXPECT_EQ(ballast_topology_imitate(ranks, ranks_per_node, source, &made), BALLAST_OK)
      << ballast_last_error();
  return topology_handle(made);
}

std::string xml(const char* name) {
  return std::string(BALLAST_TEST_DATA_DIR "/topologies/") + name;
}

ballast_rank_place place_of(const topology_handle& topology, int rank) {
  ballast_rank_place place = {};
  place.struct_size = sizeof(place);
  EXPECT_EQ(ballast_topology_place(topology.get(), rank, &place), BALLAST_OK)
      << ballast_last_error();
  EXPECT_EQ(place.struct_size, sizeof(place));
  return place;
}

std::int32_t link_of(const topology_handle& topology, int from, int to) {
  std::int32_t link = -1;
  EXPECT_EQ(ballast_topology_link(topology.get(), from, to, &link), BALLAST_OK)
      << ballast_last_error();
  return link;
}

struct sizes {
  std::int32_t ranks = 0, nodes = 0, islands = 0;
  bool operator==(const sizes&) const = default;
};
sizes counts_of(const topology_handle& topology) {
  sizes s;
  EXPECT_EQ(ballast_topology_counts(topology.get(), &s.ranks, &s.nodes, &s.islands), BALLAST_OK);
  return s;
}

// Links follow from the places: same rank, same island, same node, or remote.
void expect_links_match_places(const topology_handle& topology) {
  const int ranks = counts_of(topology).ranks;
  for (int a = 0; a < ranks; ++a) {
    for (int b = 0; b < ranks; ++b) {
      const ballast_rank_place at = place_of(topology, a);
      const ballast_rank_place to = place_of(topology, b);
      const int expected = a == b                   ? BALLAST_LINK_LOCAL
                           : at.island == to.island ? BALLAST_LINK_ISLAND
                           : at.node == to.node     ? BALLAST_LINK_NODE
                                                    : BALLAST_LINK_REMOTE;
      ASSERT_EQ(link_of(topology, a, b), expected) << a << " to " << b;
    }
  }
}

TEST(api_topology, nodes_without_devices_are_an_island_each) {
  const topology_handle t = imitate(7, 3);
  EXPECT_EQ(counts_of(t), (sizes{7, 3, 3}));
  for (int rank = 0; rank < 7; ++rank) {
    const ballast_rank_place place = place_of(t, rank);
    EXPECT_EQ(place.node, rank / 3);
    EXPECT_EQ(place.island, rank / 3);
    EXPECT_EQ(place.local_rank, rank % 3);
    EXPECT_EQ(place.gpu, -1);
    EXPECT_EQ(place.nic, -1);
    EXPECT_STREQ(place.gpu_bus_id, "");
    EXPECT_STREQ(place.nic_name, "");
  }
  expect_links_match_places(t);
}

TEST(api_topology, empty_source_is_as_good_as_none) {
  EXPECT_EQ(counts_of(imitate(4, 2, "")), counts_of(imitate(4, 2)));
}

TEST(api_topology, gpus_behind_a_switch_are_one_island) {
  const topology_handle t = imitate(4, 2, xml("two-gpus-switch.xml").c_str());
  EXPECT_EQ(counts_of(t), (sizes{4, 2, 2}));
  for (int rank = 0; rank < 4; ++rank) {
    const ballast_rank_place place = place_of(t, rank);
    EXPECT_EQ(place.gpu, rank % 2);
    EXPECT_NE(std::string(place.gpu_bus_id), "");
    EXPECT_NE(std::string(place.gpu_model).find("H100"), std::string::npos);
  }
  EXPECT_NE(std::string(place_of(t, 0).gpu_bus_id), std::string(place_of(t, 1).gpu_bus_id));
  expect_links_match_places(t);
}

TEST(api_topology, pairs_of_linked_gpus_are_islands_of_their_own) {
  const topology_handle t = imitate(8, 4, xml("four-gpus-pairs.xml").c_str());
  EXPECT_EQ(counts_of(t), (sizes{8, 2, 4}));
  for (int rank = 0; rank < 8; ++rank) {
    const ballast_rank_place place = place_of(t, rank);
    EXPECT_EQ(place.island, rank / 2);
    EXPECT_EQ(place.package, rank % 4 / 2);
    EXPECT_EQ(place.nic, rank % 4 / 2) << "one NIC for each package";
    EXPECT_NE(std::string(place.nic_name), "");
  }
  expect_links_match_places(t);
}

TEST(api_topology, gpus_known_by_pci_only_are_islands_alone) {
  const topology_handle t = imitate(2, 2, xml("two-gpus-none.xml").c_str());
  EXPECT_EQ(counts_of(t), (sizes{2, 1, 2}));
  EXPECT_EQ(link_of(t, 0, 1), BALLAST_LINK_NODE);
}

TEST(api_topology, numa_nodes_follow_the_gpus) {
  const topology_handle t = imitate(2, 2, xml("two-gpus-snc2.xml").c_str());
  EXPECT_EQ(place_of(t, 0).numa, 0);
  EXPECT_EQ(place_of(t, 1).numa, 1);
  EXPECT_EQ(place_of(t, 0).package, place_of(t, 1).package);
}

TEST(api_topology, synthetic_description_spreads_ranks_over_its_numa_nodes) {
  const topology_handle t = imitate(4, 4, "pack:2 numa:1 core:2 pu:1");
  EXPECT_EQ(counts_of(t), (sizes{4, 1, 1}));
  for (int rank = 0; rank < 4; ++rank) EXPECT_EQ(place_of(t, rank).numa, rank / 2) << rank;
}

TEST(api_topology, costs_are_positive_and_a_copy_in_place_is_the_cheapest) {
  std::int64_t costs[BALLAST_LINK_CLASSES] = {};
  const topology_handle t = imitate(2, 1);
  ASSERT_EQ(ballast_topology_costs(t.get(), costs), BALLAST_OK);
  for (const std::int64_t cost : costs) EXPECT_GT(cost, 0);
  for (int c = 1; c < BALLAST_LINK_CLASSES; ++c) EXPECT_LT(costs[BALLAST_LINK_LOCAL], costs[c]);
}

TEST(api_topology, bad_arguments_are_named_and_nothing_is_written) {
  auto* const marker = reinterpret_cast<ballast_topology*>(&counts_of);
  ballast_topology* made = marker;
  const auto refused = [&](int ranks, int ranks_per_node, const char* source) {
    EXPECT_EQ(ballast_topology_imitate(ranks, ranks_per_node, source, &made),
              BALLAST_ERROR_INVALID_ARGUMENT);
    EXPECT_EQ(made, marker);
    return std::string(ballast_last_error());
  };
  EXPECT_EQ(refused(0, 1, nullptr), "ranks is 0, expected 1 to 16384");
  EXPECT_EQ(refused(-5, 1, nullptr), "ranks is -5, expected 1 to 16384");
  EXPECT_EQ(refused(16385, 1, nullptr), "ranks is 16385, expected 1 to 16384");
  EXPECT_EQ(refused(std::numeric_limits<std::int32_t>::max(), 1, nullptr),
            "ranks is 2147483647, expected 1 to 16384");
  EXPECT_EQ(refused(4, 0, nullptr), "ranks_per_node is 0, expected 1 or more");
  EXPECT_EQ(refused(4, 0, "pack:1 core:1 pu:1"), "ranks_per_node is 0, expected 1 or more");
  EXPECT_NE(refused(4, 2, "/no/such/file.xml").find("/no/such/file.xml"), std::string::npos);
  EXPECT_NE(refused(4, 2, "nonsense:").find("nonsense:"), std::string::npos);
  EXPECT_EQ(ballast_topology_imitate(4, 2, nullptr, nullptr), BALLAST_ERROR_INVALID_ARGUMENT);
  EXPECT_STREQ(ballast_last_error(), "topology is NULL");
}

TEST(api_topology, wrong_reads_are_named_and_nothing_is_written) {
  const topology_handle t = imitate(4, 2);
  ballast_rank_place place;
  std::memset(&place, 0x5a, sizeof(place));
  place.struct_size = sizeof(place);
  const ballast_rank_place before = place;
  std::int32_t link = 9;
  for (const int rank : {-1, 4, std::numeric_limits<int>::min()}) {
    const std::string text = "rank " + std::to_string(rank) + " is not in 0..3";
    EXPECT_EQ(ballast_topology_place(t.get(), rank, &place), BALLAST_ERROR_INVALID_ARGUMENT);
    EXPECT_EQ(ballast_last_error(), text);
    EXPECT_EQ(ballast_topology_link(t.get(), rank, 0, &link), BALLAST_ERROR_INVALID_ARGUMENT);
    EXPECT_EQ(ballast_last_error(), text);
    EXPECT_EQ(ballast_topology_link(t.get(), 0, rank, &link), BALLAST_ERROR_INVALID_ARGUMENT);
    EXPECT_EQ(ballast_last_error(), text);
  }
  EXPECT_EQ(std::memcmp(&place, &before, sizeof(place)), 0);
  for (const std::size_t size : {std::size_t{0}, sizeof(place) - 1, sizeof(place) + 1}) {
    place.struct_size = size;
    EXPECT_EQ(ballast_topology_place(t.get(), 0, &place), BALLAST_ERROR_INVALID_ARGUMENT);
    EXPECT_EQ(place.node, before.node);
  }
  EXPECT_EQ(ballast_topology_place(t.get(), 0, nullptr), BALLAST_ERROR_INVALID_ARGUMENT);
  EXPECT_STREQ(ballast_last_error(), "place is NULL");
  EXPECT_EQ(ballast_topology_link(t.get(), 0, 0, nullptr), BALLAST_ERROR_INVALID_ARGUMENT);
  EXPECT_STREQ(ballast_last_error(), "link is NULL");
  EXPECT_EQ(ballast_topology_costs(t.get(), nullptr), BALLAST_ERROR_INVALID_ARGUMENT);
  EXPECT_STREQ(ballast_last_error(), "ns_per_mib is NULL");
  EXPECT_EQ(link, 9);
  EXPECT_EQ(ballast_topology_counts(t.get(), nullptr, nullptr, nullptr), BALLAST_OK);
  EXPECT_EQ(ballast_topology_counts(nullptr, &link, nullptr, nullptr),
            BALLAST_ERROR_INVALID_ARGUMENT);
  EXPECT_EQ(ballast_topology_place(nullptr, 0, &place), BALLAST_ERROR_INVALID_ARGUMENT);
  EXPECT_EQ(ballast_topology_link(nullptr, 0, 0, &link), BALLAST_ERROR_INVALID_ARGUMENT);
  EXPECT_EQ(ballast_topology_costs(nullptr, nullptr), BALLAST_ERROR_INVALID_ARGUMENT);
  EXPECT_STREQ(ballast_last_error(), "topology is NULL");
}

// Collective from here on.

int ranks_of_world() {
  int ranks = 0;
  MPI_Comm_size(MPI_COMM_WORLD, &ranks);
  return ranks;
}

topology_handle discover(const char* source, int ranks_per_node) {
  ballast_topology* made = nullptr;
  EXPECT_EQ(ballast_topology_create(MPI_COMM_WORLD, source, ranks_per_node, &made), BALLAST_OK)
      << ballast_last_error();
  return topology_handle(made);
}

TEST(api_topology, this_machine_is_one_node_for_all_its_ranks) {
  const topology_handle t = discover(nullptr, 0);
  ASSERT_NE(t, nullptr);
  EXPECT_EQ(counts_of(t).ranks, ranks_of_world());
  EXPECT_EQ(counts_of(t).nodes, 1);
  for (int rank = 0; rank < ranks_of_world(); ++rank) EXPECT_EQ(place_of(t, rank).local_rank, rank);
  EXPECT_NE(std::string(place_of(t, 0).host), "");
  expect_links_match_places(t);
}

TEST(api_topology, gathered_map_of_a_file_is_the_imitated_one) {
  const std::string source = xml("four-gpus-pairs.xml");
  for (const int per_node : {1, 2, 3}) {
    const topology_handle gathered = discover(source.c_str(), per_node);
    const topology_handle imitated = imitate(ranks_of_world(), per_node, source.c_str());
    ASSERT_NE(gathered, nullptr);
    EXPECT_EQ(counts_of(gathered), counts_of(imitated));
    for (int rank = 0; rank < ranks_of_world(); ++rank) {
      const ballast_rank_place a = place_of(gathered, rank);
      const ballast_rank_place b = place_of(imitated, rank);
      EXPECT_EQ(std::memcmp(&a, &b, sizeof(a)), 0)
          << "rank " << rank << ", " << per_node << " per node";
    }
  }
}

TEST(api_topology, unreadable_source_on_one_rank_fails_all_ranks_alike) {
  int rank = 0;
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  const int last = ranks_of_world() - 1;
  ballast_topology* made = nullptr;
  EXPECT_EQ(
      ballast_topology_create(MPI_COMM_WORLD, rank == last ? "/no/such/file.xml" : "", 0, &made),
      BALLAST_ERROR_INVALID_ARGUMENT);
  EXPECT_EQ(made, nullptr);
  EXPECT_EQ(std::string(ballast_last_error())
                .find("rank " + std::to_string(last) + ": topology '/no/such/file.xml'"),
            0u)
      << ballast_last_error();
  EXPECT_EQ(ballast_topology_create(MPI_COMM_WORLD, "", -1, &made), BALLAST_ERROR_INVALID_ARGUMENT);
  EXPECT_STREQ(ballast_last_error(), "rank 0: ranks_per_node is -1, expected 0 or more");
}

TEST(api_topology, invalid_communicator_is_a_status_and_not_the_end) {
  ballast_topology* made = nullptr;
  EXPECT_EQ(ballast_topology_create(MPI_COMM_NULL, nullptr, 0, &made),
            BALLAST_ERROR_INVALID_ARGUMENT);
  EXPECT_STREQ(ballast_last_error(), "comm is MPI_COMM_NULL");
  EXPECT_EQ(ballast_topology_create(MPI_COMM_SELF, nullptr, 0, nullptr),
            BALLAST_ERROR_INVALID_ARGUMENT);
  EXPECT_EQ(made, nullptr);
}

}  // namespace
}  // namespace ballast::testing
