#include "topology/hwloc_node.hpp"

#include <fmt/format.h>
#include <hwloc.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <limits>
#include <memory>
#include <stdexcept>
#include <string_view>
#include <type_traits>

#include "topology/child_process.hpp"
#include "topology/node_source.hpp"

namespace ballast {
namespace {

// hwloc needs milliseconds, but seconds for thousands of CPUs: its time grows with their square.
constexpr std::chrono::seconds child_deadline{20};

struct topology_deleter {
  void operator()(hwloc_topology_t topology) const { hwloc_topology_destroy(topology); }
};
using topology_handle = std::unique_ptr<std::remove_pointer_t<hwloc_topology_t>, topology_deleter>;

bool is_xml(const std::string& source) { return source.ends_with(".xml"); }

// `text` is the XML or the synthetic description that a source other than this machine stands for.
topology_handle load(const std::string& source, const std::string& text) {
  hwloc_topology_t made = nullptr;
  if (hwloc_topology_init(&made) != 0) {
    refuse_source(source, fmt::format("hwloc: {}", std::strerror(errno)));
  }
  topology_handle topology(made);
  hwloc_topology_set_io_types_filter(made, HWLOC_TYPE_FILTER_KEEP_IMPORTANT);
  if (source.empty()) {
    // OpenCL would start every vendor's driver, GL looks for an X server, and CUDA, NVML and PCI
    // tell more than both.
    for (const char* component : {"opencl", "gl"}) {
      hwloc_topology_set_components(made, HWLOC_TOPOLOGY_COMPONENTS_FLAG_BLACKLIST, component);
    }
    if (hwloc_topology_load(made) != 0) {
      refuse_source(source, fmt::format("hwloc: {}", std::strerror(errno)));
    }
  } else if (is_xml(source)) {
    const int bytes = static_cast<int>(text.size()) + 1;  // hwloc counts the terminating zero
    if (hwloc_topology_set_xmlbuffer(made, text.c_str(), bytes) != 0 ||
        hwloc_topology_load(made) != 0) {
      refuse_source(source, "is not an XML that hwloc can read");
    }
  } else if (hwloc_topology_set_synthetic(made, text.c_str()) != 0 ||
             hwloc_topology_load(made) != 0) {
    refuse_source(source,
                  "is neither a path ending in .xml nor a synthetic description such as "
                  "\"pack:2 numa:2 core:12 pu:2\" (pu comes last)");
  }
  return topology;
}

// Texts come from files and firmware: cut to the limit, and printable whatever they hold.
std::string plain(const char* text) {
  std::string result = text == nullptr ? "" : std::string(text, strnlen(text, node_limits::text));
  for (char& c : result) {
    if (c < ' ' || c > '~') c = '?';
  }
  return result;
}

std::vector<std::int32_t> cpus_of(const std::string& source, hwloc_const_bitmap_t set) {
  std::vector<std::int32_t> cpus;
  if (set == nullptr) return cpus;
  const int weight = hwloc_bitmap_weight(set);  // -1: infinite
  if (weight < 0 || weight > static_cast<int>(node_limits::cpus)) {
    refuse_source(source, fmt::format("an object has more than {} CPUs", node_limits::cpus));
  }
  for (int cpu = hwloc_bitmap_first(set); cpu != -1; cpu = hwloc_bitmap_next(set, cpu)) {
    cpus.push_back(cpu);
  }
  return cpus;
}

hwloc_obj_t ancestor_of_type(hwloc_obj_t object, hwloc_obj_type_t type) {
  while (object != nullptr && object->type != type) object = object->parent;
  return object;
}

// The lowest package that shares CPUs with `near`, an object outside the I/O part.
std::int32_t package_near(hwloc_topology_t topology, hwloc_obj_t near) {
  if (const hwloc_obj_t above = ancestor_of_type(near, HWLOC_OBJ_PACKAGE)) {
    return static_cast<std::int32_t>(above->logical_index);
  }
  const int packages = hwloc_get_nbobjs_by_type(topology, HWLOC_OBJ_PACKAGE);
  for (int i = 0; i < packages; ++i) {
    const hwloc_obj_t package = hwloc_get_obj_by_type(topology, HWLOC_OBJ_PACKAGE, i);
    if (near->cpuset != nullptr && hwloc_bitmap_intersects(package->cpuset, near->cpuset)) return i;
  }
  return 0;
}

// The lowest NUMA node with CPUs that is local to `near`; one without CPUs if there is no other.
std::int32_t numa_near(hwloc_topology_t topology, hwloc_obj_t near) {
  std::int32_t memory_only = -1;
  const int nodes = hwloc_get_nbobjs_by_type(topology, HWLOC_OBJ_NUMANODE);
  for (int i = 0; i < nodes; ++i) {
    const hwloc_obj_t numa = hwloc_get_obj_by_type(topology, HWLOC_OBJ_NUMANODE, i);
    if (near->nodeset == nullptr || !hwloc_bitmap_isset(near->nodeset, numa->os_index)) continue;
    if (!hwloc_bitmap_iszero(numa->cpuset)) return i;
    if (memory_only == -1) memory_only = i;
  }
  return std::max(memory_only, 0);
}

using pci_attributes = hwloc_obj_attr_u::hwloc_pcidev_attr_s;

// A PCI device with the OS devices below it.
struct pci_device {
  hwloc_obj_t object = nullptr;
  std::vector<hwloc_obj_t> os_devices;

  const pci_attributes& attributes() const { return object->attr->pcidev; }
  std::uint64_t order() const {
    const pci_attributes& pci = attributes();
    return std::uint64_t{pci.domain} << 32 | std::uint64_t{pci.bus} << 16 |
           std::uint64_t{pci.dev} << 8 | pci.func;
  }
  std::string bus_id() const {
    const pci_attributes& pci = attributes();
    return fmt::format("{:04x}:{:02x}:{:02x}.{:x}", pci.domain, pci.bus, pci.dev, pci.func);
  }
  hwloc_obj_t named(std::string_view prefix) const {
    for (const hwloc_obj_t device : os_devices) {
      const std::string_view name = device->name != nullptr ? device->name : "";
      if (name.starts_with(prefix)) return device;
    }
    return nullptr;
  }
  hwloc_obj_t of_type(hwloc_obj_osdev_type_t type) const {
    for (const hwloc_obj_t device : os_devices) {
      if (device->attr->osdev.type == type) return device;
    }
    return nullptr;
  }
};

// OS devices are told by name: NVML's have had two types and two subtypes over hwloc's versions.
constexpr std::string_view gpu_prefixes[] = {"cuda", "nvml", "rsmi"};

bool is_gpu(const pci_device& device) {
  constexpr unsigned nvidia = 0x10de, amd = 0x1002;
  const pci_attributes& pci = device.attributes();
  const unsigned base_class = pci.class_id >> 8;
  if (base_class == 0x03 && (pci.vendor_id == nvidia || pci.vendor_id == amd)) return true;
  // Newer Instincts call themselves processing accelerators.
  if (base_class == 0x12 && pci.vendor_id == amd) return true;
  return std::any_of(std::begin(gpu_prefixes), std::end(gpu_prefixes),
                     [&](std::string_view prefix) { return device.named(prefix) != nullptr; });
}

hwloc_obj_t nic_of(const pci_device& device) {
  const hwloc_obj_t fabric = device.of_type(HWLOC_OBJ_OSDEV_OPENFABRICS);
  return fabric != nullptr ? fabric : device.of_type(HWLOC_OBJ_OSDEV_NETWORK);
}

// All PCI devices by bus id; of several with one bus id, which only a made-up file has, the first.
std::vector<pci_device> list_pci_devices(hwloc_topology_t topology) {
  std::vector<pci_device> devices;
  for (hwloc_obj_t object = nullptr;
       (object = hwloc_get_next_pcidev(topology, object)) != nullptr;) {
    devices.push_back({object, {}});
  }
  for (hwloc_obj_t os = nullptr; (os = hwloc_get_next_osdev(topology, os)) != nullptr;) {
    const hwloc_obj_t above = ancestor_of_type(os, HWLOC_OBJ_PCI_DEVICE);
    for (pci_device& device : devices) {
      if (device.object == above) device.os_devices.push_back(os);
    }
  }
  std::stable_sort(devices.begin(), devices.end(),
                   [](const pci_device& a, const pci_device& b) { return a.order() < b.order(); });
  const auto same = [](const pci_device& a, const pci_device& b) { return a.order() == b.order(); };
  devices.erase(std::unique(devices.begin(), devices.end(), same), devices.end());
  return devices;
}

gpu_description describe_gpu(const std::string& source, hwloc_topology_t topology,
                             const pci_device& device) {
  gpu_description gpu;
  gpu.bus_id = device.bus_id();
  for (const std::string_view prefix : gpu_prefixes) {
    const hwloc_obj_t os = device.named(prefix);
    if (os != nullptr && gpu.name.empty()) gpu.name = plain(os->name);
  }
  for (const hwloc_obj_t os : device.os_devices) {  // OpenCL's knows the model too
    if (gpu.model.empty()) gpu.model = plain(hwloc_obj_get_info_by_name(os, "GPUModel"));
  }
  if (gpu.model.empty()) gpu.model = plain(hwloc_obj_get_info_by_name(device.object, "PCIDevice"));
  const hwloc_obj_t near = hwloc_get_non_io_ancestor_obj(topology, device.object);
  gpu.package = package_near(topology, near);
  gpu.numa = numa_near(topology, near);
  gpu.cpus = cpus_of(source, near->cpuset);
  return gpu;
}

nic_description describe_nic(hwloc_topology_t topology, const pci_device& device) {
  const hwloc_obj_t near = hwloc_get_non_io_ancestor_obj(topology, device.object);
  return {device.bus_id(), plain(nic_of(device)->name), package_near(topology, near),
          numa_near(topology, near)};
}

// How many objects lie on both ways up to the root. hwloc's common ancestor is not for I/O objects.
std::size_t common_depth(hwloc_obj_t a, hwloc_obj_t b) {
  std::vector<hwloc_obj_t> above_a, above_b;
  for (; a != nullptr; a = a->parent) above_a.push_back(a);
  for (; b != nullptr; b = b->parent) above_b.push_back(b);
  const auto ends =
      std::mismatch(above_a.rbegin(), above_a.rend(), above_b.rbegin(), above_b.rend());
  return static_cast<std::size_t>(ends.first - above_a.rbegin());
}

std::int32_t nearest_nic(const pci_device& gpu, const std::vector<pci_device>& nics) {
  std::int32_t nearest = -1;
  std::size_t deepest = 0;
  for (std::size_t nic = 0; nic < nics.size(); ++nic) {
    const std::size_t depth = common_depth(gpu.object, nics[nic].object);
    if (depth > deepest) {
      deepest = depth;
      nearest = static_cast<std::int32_t>(nic);
    }
  }
  return nearest;
}

// hwloc's matrix joins CUDA, NVML or PCI devices to each other, to NVSwitches and to packages.
std::vector<std::int64_t> nvlink_between(const std::string& source, hwloc_topology_t topology,
                                         const std::vector<pci_device>& gpus) {
  std::vector<std::int64_t> bandwidth(gpus.size() * gpus.size(), 0);
  unsigned found = 1;
  hwloc_distances_s* matrix = nullptr;
  if (hwloc_distances_get_by_name(topology, "NVLinkBandwidth", &found, &matrix, 0) != 0 ||
      found == 0) {
    return bandwidth;
  }
  const auto release = [topology](hwloc_distances_s* held) {
    hwloc_distances_release(topology, held);
  };
  const std::unique_ptr<hwloc_distances_s, decltype(release)> owner(matrix, release);

  const auto is_switch = [](hwloc_obj_t object) {
    return object != nullptr && object->subtype != nullptr &&
           std::strcmp(object->subtype, "NVSwitch") == 0;
  };
  // The closure adds up a GPU's links to all switches: their ports need no merging before it.
  if (std::any_of(matrix->objs, matrix->objs + matrix->nbobjs, is_switch) &&
      hwloc_distances_transform(topology, matrix, HWLOC_DISTANCES_TRANSFORM_TRANSITIVE_CLOSURE,
                                nullptr, 0) != 0) {
    refuse_source(source,
                  fmt::format("hwloc cannot join GPUs over NVSwitches: {}", std::strerror(errno)));
  }

  std::vector<int> gpu_of(matrix->nbobjs, -1);
  for (unsigned i = 0; i < matrix->nbobjs; ++i) {
    const hwloc_obj_t pci = ancestor_of_type(matrix->objs[i], HWLOC_OBJ_PCI_DEVICE);
    for (std::size_t gpu = 0; pci != nullptr && gpu < gpus.size(); ++gpu) {
      if (gpus[gpu].object == pci) gpu_of[i] = static_cast<int>(gpu);
    }
  }
  for (unsigned i = 0; i < matrix->nbobjs; ++i) {
    for (unsigned j = 0; j < matrix->nbobjs; ++j) {
      if (gpu_of[i] == -1 || gpu_of[j] == -1 || gpu_of[i] == gpu_of[j]) continue;
      const std::uint64_t value = matrix->values[std::size_t{i} * matrix->nbobjs + j];
      std::int64_t& entry = bandwidth[gpu_of[i] * gpus.size() + gpu_of[j]];
      entry = std::max(entry, static_cast<std::int64_t>(std::min<std::uint64_t>(
                                  value, std::numeric_limits<std::int64_t>::max())));
    }
  }
  return bandwidth;
}

node_description describe(const std::string& source, hwloc_topology_t topology) {
  const hwloc_obj_t root = hwloc_get_root_obj(topology);
  node_description node;
  node.host = plain(hwloc_obj_get_info_by_name(root, "HostName"));
  node.this_machine = hwloc_topology_is_thissystem(topology) != 0;
  node.packages = std::max(1, hwloc_get_nbobjs_by_type(topology, HWLOC_OBJ_PACKAGE));
  const int numa_nodes = hwloc_get_nbobjs_by_type(topology, HWLOC_OBJ_NUMANODE);
  for (int i = 0; i < numa_nodes; ++i) {
    const hwloc_obj_t numa = hwloc_get_obj_by_type(topology, HWLOC_OBJ_NUMANODE, i);
    node.numa_nodes.push_back({package_near(topology, numa), cpus_of(source, numa->cpuset)});
  }
  if (node.numa_nodes.empty()) node.numa_nodes.push_back({0, cpus_of(source, root->cpuset)});

  std::vector<pci_device> gpus, nics;
  for (const pci_device& device : list_pci_devices(topology)) {
    if (is_gpu(device)) gpus.push_back(device);
    if (nic_of(device) != nullptr) nics.push_back(device);
  }
  for (const pci_device& device : nics) node.nics.push_back(describe_nic(topology, device));
  for (const pci_device& device : gpus) {
    node.gpus.push_back(describe_gpu(source, topology, device));
    node.gpus.back().nearest_nic = nearest_nic(device, nics);
  }
  node.nvlink_mb_per_s = nvlink_between(source, topology, gpus);
  return node;
}

// The description as bytes, which proves it within the limits.
std::vector<std::byte> describe_as_bytes(const std::string& source, const std::string& text) {
  const topology_handle topology = load(source, text);
  const node_description node = describe(source, topology.get());
  try {
    return encode(node);
  } catch (const std::invalid_argument& error) {
    refuse_source(source, error.what());
  }
}

}  // namespace

node_description read_node(const std::string& source) {
  if (source.empty()) return decode_node_description(describe_as_bytes(source, ""));
  if (!is_xml(source)) check_synthetic(source);
  const std::string text = is_xml(source) ? read_hwloc_xml(source) : source;
  std::vector<std::byte> bytes;
  try {
    bytes = run_in_child([&] { return describe_as_bytes(source, text); }, child_deadline);
  } catch (const std::runtime_error& error) {
    refuse_source(source, fmt::format("hwloc cannot read it: {}", error.what()));
  }
  return decode_node_description(bytes);
}

}  // namespace ballast
