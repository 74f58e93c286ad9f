// Whole GPU nodes as XML, where the shared test data is present: what their makers say about them
// must come out.

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "topology/cluster_map.hpp"
#include "topology/hwloc_node.hpp"

namespace ballast {
namespace {

class shared_topologies : public testing::Test {
 protected:
  void SetUp() override {
    const std::filesystem::path folder = BALLAST_SHARED_DIR "/data/topologies";
    if (!std::filesystem::exists(folder)) GTEST_SKIP() << "no shared test data: " << folder;
  }

  static node_description read(const std::string& name) {
    return read_node(fmt::format("{}/data/topologies/{}.xml", BALLAST_SHARED_DIR, name));
  }

  static std::vector<int> islands(const node_description& node, int ranks) {
    std::vector<rank_report> reports(ranks);
    reports[0].description = node;
    std::vector<int> found;
    for (const rank_place& place : merge_reports(reports).ranks) found.push_back(place.island);
    return found;
  }
};

TEST_F(shared_topologies, eight_gpus_over_nvswitches_are_one_island_at_full_bandwidth) {
  const node_description node = read("8gpu-switch");
  ASSERT_EQ(node.gpus.size(), 8u);
  EXPECT_EQ(node.packages, 2);
  EXPECT_EQ(node.numa_nodes.size(), 2u);
  EXPECT_EQ(node.nics.size(), 8u);
  for (int i = 0; i < 64; ++i) EXPECT_EQ(node.nvlink_mb_per_s[i], i / 8 == i % 8 ? 0 : 450000) << i;
  EXPECT_EQ(islands(node, 8), (std::vector<int>{0, 0, 0, 0, 0, 0, 0, 0}));
  for (int gpu = 0; gpu < 8; ++gpu) {
    EXPECT_EQ(node.gpus[gpu].numa, gpu / 4);
    EXPECT_EQ(node.gpus[gpu].package, gpu / 4);
    EXPECT_EQ(node.gpus[gpu].cpus.size(), 48u);
    EXPECT_EQ(node.gpus[gpu].nearest_nic,
              gpu / 2 * 2);  // two GPUs and two NICs behind a PCIe switch
    EXPECT_EQ(node.gpus[gpu].name, fmt::format("cuda{}", gpu));
  }
}

TEST_F(shared_topologies, eight_gpus_linked_inside_their_package_are_two_islands) {
  const node_description node = read("8gpu-pairs");
  ASSERT_EQ(node.gpus.size(), 8u);
  EXPECT_EQ(node.nvlink_mb_per_s[0 * 8 + 1], 50000);
  EXPECT_EQ(node.nvlink_mb_per_s[0 * 8 + 2], 25000);
  EXPECT_EQ(node.nvlink_mb_per_s[0 * 8 + 4], 0);
  EXPECT_EQ(islands(node, 8), (std::vector<int>{0, 0, 0, 0, 1, 1, 1, 1}));
}

TEST_F(shared_topologies, eight_gpus_without_nvlink_are_eight_islands) {
  const node_description node = read("8gpu-none");
  ASSERT_EQ(node.gpus.size(), 8u);
  EXPECT_EQ(islands(node, 8), (std::vector<int>{0, 1, 2, 3, 4, 5, 6, 7}));
}

TEST_F(shared_topologies, split_packages_have_two_numa_nodes_with_two_gpus_each) {
  const node_description node = read("8gpu-snc2");
  ASSERT_EQ(node.gpus.size(), 8u);
  ASSERT_EQ(node.numa_nodes.size(), 4u);
  for (int numa = 0; numa < 4; ++numa) {
    EXPECT_EQ(node.numa_nodes[numa].package, numa / 2);
    EXPECT_EQ(node.numa_nodes[numa].cpus.size(), 24u);
    EXPECT_EQ(node.gpus[2 * numa].numa, numa);
    EXPECT_EQ(node.gpus[2 * numa + 1].numa, numa);
  }
  EXPECT_EQ(islands(node, 8), (std::vector<int>{0, 0, 0, 0, 0, 0, 0, 0}));
}

TEST_F(shared_topologies, four_gpus_share_the_only_nic) {
  const node_description node = read("4gpu-1nic");
  ASSERT_EQ(node.gpus.size(), 4u);
  ASSERT_EQ(node.nics.size(), 1u);
  EXPECT_EQ(node.nics[0].name, "mlx5_0");
  for (const gpu_description& gpu : node.gpus) EXPECT_EQ(gpu.nearest_nic, 0);
  EXPECT_EQ(islands(node, 4), (std::vector<int>{0, 0, 1, 1}));
}

// A real virtual machine with two H100, read without hwloc's NVML plugin: PCI shows the GPUs,
// nothing shows NVLink.
TEST_F(shared_topologies, gpus_of_a_real_machine_are_found_by_pci_and_have_no_known_links) {
  const node_description node = read("two-h100");
  ASSERT_EQ(node.gpus.size(), 2u);
  EXPECT_EQ(node.host, "h100node");
  EXPECT_EQ(node.gpus[0].bus_id, "0000:00:06.0");
  EXPECT_EQ(node.gpus[1].bus_id, "0000:00:07.0");
  EXPECT_EQ(node.gpus[1].cpus.size(), 32u);
  EXPECT_EQ(node.nvlink_mb_per_s, (std::vector<std::int64_t>{0, 0, 0, 0}));
  ASSERT_EQ(node.nics.size(), 1u);
  EXPECT_EQ(node.nics[0].name, "eth0");
  EXPECT_EQ(islands(node, 2), (std::vector<int>{0, 1}));
}

}  // namespace
}  // namespace ballast
