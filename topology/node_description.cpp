#include "topology/node_description.hpp"

#include <fmt/format.h>

#include <limits>
#include <stdexcept>
#include <type_traits>

namespace ballast {
namespace {

constexpr std::uint32_t format_mark = 0x31444e42;  // "BND1" as bytes; the digit counts formats

// Writer and reader offer the same calls, so that `walk` alone says what the bytes are and what is
// legal.
class writer {
 public:
  [[noreturn]] void refuse(const std::string& reason) const {
    throw std::invalid_argument("node description: " + reason);
  }

  template <class Integer>
  void number(Integer value, Integer low, Integer high, const char* what) {
    if (value < low || value > high) {
      refuse(fmt::format("{} is {}, allowed are {} to {}", what, value, low, high));
    }
    const auto bits = static_cast<std::make_unsigned_t<Integer>>(value);
    for (std::size_t byte = 0; byte < sizeof bits; ++byte) {
      bytes_.push_back(static_cast<std::byte>(bits >> (8 * byte) & 0xff));
    }
  }

  void text(const std::string& value, const char* what) {
    count(value, 0, node_limits::text, 1, what);
    for (const char c : value) bytes_.push_back(static_cast<std::byte>(c));
  }

  template <class List>
  void count(const List& list, std::uint32_t low, std::uint32_t high, std::size_t,
             const char* what) {
    if (list.size() > high) {
      refuse(fmt::format("{} is {}, allowed are {} to {}", what, list.size(), low, high));
    }
    number(static_cast<std::uint32_t>(list.size()), low, high, what);
  }

  void matrix(const std::vector<std::int64_t>& values, std::size_t size) const {
    if (values.size() != size) {
      refuse(fmt::format("{} NVLink bandwidths, the GPUs need {}", values.size(), size));
    }
  }

  std::vector<std::byte> take() { return std::move(bytes_); }

 private:
  std::vector<std::byte> bytes_;
};

class reader {
 public:
  explicit reader(std::span<const std::byte> bytes) : bytes_(bytes) {}

  [[noreturn]] void refuse(const std::string& reason) const {
    throw std::invalid_argument(
        fmt::format("node description: byte {} of {}: {}", offset_, bytes_.size(), reason));
  }

  template <class Integer>
  void number(Integer& value, Integer low, Integer high, const char* what) {
    using unsigned_integer = std::make_unsigned_t<Integer>;
    need(sizeof(Integer), what);
    unsigned_integer bits = 0;
    for (std::size_t byte = 0; byte < sizeof bits; ++byte) {
      bits |= std::to_integer<unsigned_integer>(bytes_[offset_ + byte]) << (8 * byte);
    }
    value = static_cast<Integer>(bits);
    if (value < low || value > high) {
      refuse(fmt::format("{} is {}, allowed are {} to {}", what, value, low, high));
    }
    offset_ += sizeof(Integer);
  }

  void text(std::string& value, const char* what) {
    count(value, 0, node_limits::text, 1, what);
    for (char& c : value) c = std::to_integer<char>(bytes_[offset_++]);
  }

  /// Resizes `list` to the length read, once the bytes can hold that many entries.
  template <class List>
  void count(List& list, std::uint32_t low, std::uint32_t high, std::size_t entry_bytes,
             const char* what) {
    std::uint32_t length = 0;
    number(length, low, high, what);
    need(length * entry_bytes, what);
    list.resize(length);
  }

  void matrix(std::vector<std::int64_t>& values, std::size_t size) const {
    need(size * sizeof(std::int64_t), "NVLink bandwidth");
    values.resize(size);
  }

  void expect_end() const {
    if (offset_ != bytes_.size()) refuse("more bytes than a description has");
  }

 private:
  void need(std::size_t size, const char* what) const {
    if (bytes_.size() - offset_ < size) refuse(fmt::format("ends within {}", what));
  }

  std::span<const std::byte> bytes_;
  std::size_t offset_ = 0;
};

template <class Archive, class Cpus>
void walk_cpus(Archive& archive, Cpus& cpus) {
  archive.count(cpus, 0, node_limits::cpus, sizeof(std::int32_t), "CPU count");
  std::int32_t least = 0;
  for (auto& cpu : cpus) {
    archive.number(cpu, least, std::numeric_limits<std::int32_t>::max() - 1, "CPU");
    least = cpu + 1;
  }
}

// Lists come before what indexes them.
template <class Archive, class Node>
void walk(Archive& archive, Node& node) {
  std::uint32_t mark = format_mark;
  archive.number(mark, format_mark, format_mark, "format mark");
  archive.text(node.host, "host length");
  std::uint8_t here = node.this_machine ? 1 : 0;
  archive.number(here, std::uint8_t{0}, std::uint8_t{1}, "this-machine flag");
  if constexpr (!std::is_const_v<Node>) node.this_machine = here == 1;
  archive.number(node.packages, 1, node_limits::packages, "package count");

  archive.count(node.numa_nodes, 1, node_limits::numa_nodes, 8, "NUMA node count");
  for (auto& numa : node.numa_nodes) {
    archive.number(numa.package, 0, node.packages - 1, "NUMA node's package");
    walk_cpus(archive, numa.cpus);
  }

  const auto numa_last = static_cast<std::int32_t>(node.numa_nodes.size()) - 1;
  archive.count(node.nics, 0, node_limits::nics, 16, "NIC count");
  for (auto& nic : node.nics) {
    archive.text(nic.bus_id, "NIC bus id length");
    archive.text(nic.name, "NIC name length");
    archive.number(nic.package, 0, node.packages - 1, "NIC's package");
    archive.number(nic.numa, 0, numa_last, "NIC's NUMA node");
  }

  const auto nic_last = static_cast<std::int32_t>(node.nics.size()) - 1;
  archive.count(node.gpus, 0, node_limits::gpus, 28, "GPU count");
  for (auto& gpu : node.gpus) {
    archive.text(gpu.bus_id, "GPU bus id length");
    archive.text(gpu.name, "GPU name length");
    archive.text(gpu.model, "GPU model length");
    archive.number(gpu.package, 0, node.packages - 1, "GPU's package");
    archive.number(gpu.numa, 0, numa_last, "GPU's NUMA node");
    walk_cpus(archive, gpu.cpus);
    archive.number(gpu.nearest_nic, -1, nic_last, "GPU's nearest NIC");
  }

  const std::size_t gpus = node.gpus.size();
  archive.matrix(node.nvlink_mb_per_s, gpus * gpus);
  for (std::size_t i = 0; i < gpus * gpus; ++i) {
    const bool diagonal = i / gpus == i % gpus;
    archive.number(node.nvlink_mb_per_s[i], std::int64_t{0},
                   diagonal ? std::int64_t{0} : std::numeric_limits<std::int64_t>::max(),
                   "NVLink bandwidth");
  }
}

}  // namespace

std::vector<std::byte> encode(const node_description& node) {
  writer out;
  walk(out, node);
  return out.take();
}

node_description decode_node_description(std::span<const std::byte> bytes) {
  reader in(bytes);
  node_description node;
  walk(in, node);
  in.expect_end();
  return node;
}

}  // namespace ballast
