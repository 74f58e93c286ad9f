#pragma once
// One node as plain values: packages, NUMA nodes with their CPUs, GPUs and NICs as PCI devices with
// bus ids, and the NVLink bandwidth between GPUs. Read by hwloc_node.hpp, sent between ranks as
// bytes.

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace ballast {

struct numa_description {
  std::int32_t package = 0;
  std::vector<std::int32_t> cpus;  ///< OS indices, ascending
  bool operator==(const numa_description&) const = default;
};

struct gpu_description {
  std::string bus_id;  ///< "0000:1b:00.0"
  std::string name;    ///< OS device ("cuda0", "nvml0") or "" where only PCI shows it
  std::string model;   ///< "NVIDIA H100 80GB HBM3" or ""
  std::int32_t package = 0;
  std::int32_t numa = 0;
  std::vector<std::int32_t> cpus;  ///< near it
  std::int32_t nearest_nic =
      -1;  ///< index into nics: the one with the deepest common ancestor, then the lowest bus id
  bool operator==(const gpu_description&) const = default;
};

struct nic_description {
  std::string bus_id;
  std::string name;  ///< "mlx5_0", "ib0", "eth0"
  std::int32_t package = 0;
  std::int32_t numa = 0;
  bool operator==(const nic_description&) const = default;
};

struct node_description {
  std::string host;  ///< as hwloc says, or "" if it does not
  std::int32_t packages = 1;
  std::vector<numa_description> numa_nodes;  ///< at least one
  std::vector<gpu_description> gpus;         ///< by bus id
  std::vector<nic_description> nics;         ///< by bus id
  /// [gpus][gpus], MB/s over NVLink after the transitive closure over NVSwitches; 0 where none,
  /// diagonal 0.
  std::vector<std::int64_t> nvlink_mb_per_s;
  bool this_machine = true;  ///< false for an imitated one: no thread is bound to its CPUs
  bool operator==(const node_description&) const = default;
};

/// What a description may hold at most. Texts are in bytes; CPUs are per list.
struct node_limits {
  static constexpr std::int32_t packages = 4096;
  static constexpr std::uint32_t numa_nodes = 4096;
  static constexpr std::uint32_t gpus = 1024;
  static constexpr std::uint32_t nics = 1024;
  static constexpr std::uint32_t cpus = 65536;
  static constexpr std::uint32_t text = 4096;
};

/// A description as bytes (little-endian, fixed widths), the same on every machine, and back. Both
/// throw std::invalid_argument naming the field and its value when a count passes its limit, an
/// index points nowhere, CPUs do not ascend or a bandwidth is negative; decode names the offset
/// too, and also refuses truncated bytes and bytes left over. decode never allocates more than a
/// small multiple of the bytes it was given.
std::vector<std::byte> encode(const node_description& node);
node_description decode_node_description(std::span<const std::byte> bytes);

}  // namespace ballast
