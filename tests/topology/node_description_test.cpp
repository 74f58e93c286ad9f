// Descriptions as bytes: the same everywhere, back without loss, and refused when damaged.

#include "topology/node_description.hpp"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <random>
#include <stdexcept>
#include <string>

namespace ballast {
namespace {

node_description made_up_node(std::mt19937& random) {
  const auto below = [&](unsigned n) { return static_cast<int>(random() % n); };
  const auto text = [&] { return std::string(below(20), static_cast<char>(' ' + below(90))); };
  const auto cpus = [&] {
    std::vector<std::int32_t> list;
    for (int cpu = below(5), count = below(9); count > 0; cpu += 1 + below(70), --count)
      list.push_back(cpu);
    return list;
  };
  node_description node;
  node.host = text();
  node.this_machine = below(2) == 1;
  node.packages = 1 + below(4);
  node.numa_nodes.resize(1 + below(5));
  node.nics.resize(below(4));
  node.gpus.resize(below(6));
  const int numa_nodes = static_cast<int>(node.numa_nodes.size());
  for (auto& numa : node.numa_nodes) numa = {below(node.packages), cpus()};
  for (auto& nic : node.nics) nic = {text(), text(), below(node.packages), below(numa_nodes)};
  for (auto& gpu : node.gpus) {
    gpu = {text(),
           text(),
           text(),
           below(node.packages),
           below(numa_nodes),
           cpus(),
           below(static_cast<unsigned>(node.nics.size()) + 1) - 1};
  }
  const std::size_t gpus = node.gpus.size();
  for (std::size_t i = 0; i < gpus * gpus; ++i) {
    node.nvlink_mb_per_s.push_back(
        i / gpus == i % gpus ? 0 : static_cast<std::int64_t>(random()) << below(31));
  }
  return node;
}

node_description smallest() {
  node_description node;
  node.numa_nodes.resize(1);
  return node;
}

std::string encode_refusal(const node_description& node) {
  try {
    encode(node);
  } catch (const std::invalid_argument& error) {
    return error.what();
  }
  return "accepted";
}

std::string decode_refusal(std::span<const std::byte> bytes) {
  try {
    decode_node_description(bytes);
  } catch (const std::invalid_argument& error) {
    return error.what();
  }
  return "accepted";
}

TEST(node_description, bytes_are_little_endian_and_frozen) {
  node_description node;
  node.host = "n1";
  node.this_machine = false;
  node.packages = 2;
  node.numa_nodes = {{1, {0, 258}}};
  node.nics = {{"b", "", 0, 0}};
  node.gpus = {{"", "c", "", 1, 0, {}, -1}};
  node.nvlink_mb_per_s = {0};
  std::string hex;
  for (const std::byte byte : encode(node))
    hex += fmt::format("{:02x}", std::to_integer<int>(byte));
  EXPECT_EQ(hex,
            "424e4431"
            "02000000"
            "6e31"
            "00"
            "02000000"  // mark, host, this machine, packages
            "01000000"
            "01000000"
            "02000000"
            "00000000"
            "02010000"  // NUMA nodes: package, CPUs
            "01000000"
            "01000000"
            "62"
            "00000000"
            "00000000"
            "00000000"  // NICs
            "01000000"
            "00000000"
            "01000000"
            "63"
            "00000000"
            "01000000"
            "00000000"
            "00000000"
            "ffffffff"
            "0000000000000000");
}

TEST(node_description, every_description_comes_back_equal) {
  for (unsigned seed = 1; seed <= 500; ++seed) {
    std::mt19937 random(seed);
    const node_description node = made_up_node(random);
    const std::vector<std::byte> bytes = encode(node);
    EXPECT_EQ(decode_node_description(bytes), node) << "seed " << seed;
    EXPECT_EQ(encode(decode_node_description(bytes)), bytes) << "seed " << seed;
  }
}

TEST(node_description, every_truncation_is_refused_with_its_offset) {
  for (unsigned seed = 1; seed <= 20; ++seed) {
    std::mt19937 random(seed);
    const std::vector<std::byte> bytes = encode(made_up_node(random));
    for (std::size_t length = 0; length < bytes.size(); ++length) {
      const std::string refusal = decode_refusal(std::span(bytes).first(length));
      EXPECT_NE(refusal.find(fmt::format(" of {}: ends within ", length)), std::string::npos)
          << "seed " << seed << " length " << length << ": " << refusal;
    }
  }
}

TEST(node_description, bytes_left_over_are_refused) {
  std::vector<std::byte> bytes = encode(smallest());
  bytes.push_back(std::byte{0});
  EXPECT_EQ(decode_refusal(bytes),
            fmt::format("node description: byte {} of {}: more bytes than a description has",
                        bytes.size() - 1, bytes.size()));
}

TEST(node_description, flipped_bytes_are_refused_or_legal_and_never_crash) {
  int refused = 0;
  for (unsigned seed = 1; seed <= 3000; ++seed) {
    std::mt19937 random(seed);
    std::vector<std::byte> bytes = encode(made_up_node(random));
    for (int flips = 1 + static_cast<int>(random() % 4); flips > 0; --flips) {
      bytes[random() % bytes.size()] = static_cast<std::byte>(random());
    }
    try {
      EXPECT_EQ(encode(decode_node_description(bytes)), bytes) << "seed " << seed;
    } catch (const std::invalid_argument&) {
      ++refused;
    }
  }
  EXPECT_GT(refused, 1000);
}

TEST(node_description, random_bytes_after_the_mark_never_crash) {
  for (unsigned seed = 1; seed <= 2000; ++seed) {
    std::mt19937 random(seed);
    std::vector<std::byte> bytes = encode(smallest());
    bytes.resize(4);
    for (int i = static_cast<int>(random() % 200); i > 0; --i) {
      bytes.push_back(static_cast<std::byte>(random() % 3 == 0 ? random() : random() % 2));
    }
    decode_refusal(bytes);
  }
}

TEST(node_description, counts_beyond_the_limits_are_refused_before_memory_is_taken) {
  std::vector<std::byte> bytes = encode(smallest());
  // mark 4, host length 4, flag 1, packages 4, then the NUMA node count.
  for (const std::size_t offset : {std::size_t{4}, std::size_t{13}, std::size_t{21}}) {
    std::vector<std::byte> damaged = bytes;
    for (int i = 0; i < 4; ++i) damaged[offset + i] = std::byte{0xff};
    const std::string refusal = decode_refusal(damaged);
    EXPECT_EQ(
        refusal.rfind(fmt::format("node description: byte {} of {}: ", offset, bytes.size()), 0),
        0u)
        << refusal;
    EXPECT_NE(refusal.find("is 4294967295"), std::string::npos) << refusal;
  }
}

TEST(node_description, encode_refuses_what_decode_would) {
  EXPECT_EQ(encode_refusal(smallest()), "accepted");
  node_description node = smallest();
  node.numa_nodes.clear();
  EXPECT_EQ(encode_refusal(node), "node description: NUMA node count is 0, allowed are 1 to 4096");
  node = smallest();
  node.numa_nodes.resize(node_limits::numa_nodes + 1);
  EXPECT_EQ(encode_refusal(node),
            "node description: NUMA node count is 4097, allowed are 1 to 4096");
  node = smallest();
  node.numa_nodes[0].cpus = {3, 3};
  EXPECT_NE(encode_refusal(node).find("CPU is 3, allowed are 4 to"), std::string::npos)
      << encode_refusal(node);
  node.numa_nodes[0].cpus = {-1};
  EXPECT_NE(encode_refusal(node).find("CPU is -1"), std::string::npos);
  node = smallest();
  node.host.assign(node_limits::text + 1, 'x');
  EXPECT_EQ(encode_refusal(node), "node description: host length is 4097, allowed are 0 to 4096");
  node = smallest();
  node.gpus.resize(2);
  EXPECT_EQ(encode_refusal(node), "node description: 0 NVLink bandwidths, the GPUs need 4");
  node.nvlink_mb_per_s = {0, 1, 1, 7};
  EXPECT_NE(encode_refusal(node).find("NVLink bandwidth is 7, allowed are 0 to 0"),
            std::string::npos);
  node.nvlink_mb_per_s = {0, -1, 1, 0};
  EXPECT_NE(encode_refusal(node).find("NVLink bandwidth is -1"), std::string::npos);
  node.nvlink_mb_per_s = {0, 1, 1, 0};
  EXPECT_EQ(encode_refusal(node), "accepted");
  node.gpus[1].numa = 1;
  EXPECT_EQ(encode_refusal(node), "node description: GPU's NUMA node is 1, allowed are 0 to 0");
}

}  // namespace
}  // namespace ballast
