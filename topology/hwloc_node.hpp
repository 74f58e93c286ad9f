#pragma once
// Reads one node with hwloc. The only part that knows hwloc.

#include <string>

#include "topology/node_description.hpp"
#include "topology/thread_binding.hpp"

namespace ballast {

/// `source`: "" this machine; a path ending in ".xml" an hwloc XML; anything else a synthetic
/// string such as "pack:2 numa:2 core:12 pu:2". Throws std::invalid_argument naming the source and
/// what hwloc or the system said: missing, unreadable, larger than 64 MiB, not XML, version not
/// understood, not a synthetic description, or beyond node_limits. Packages, NUMA nodes, GPUs and
/// NICs are indexed in hwloc's logical and PCI bus order. Texts are cut to the limit and hold
/// printable ASCII only. NVLink is known where hwloc's NVML plugin is present or an XML has it:
/// elsewhere every bandwidth is 0.
///
/// This machine is read in this process, in some 10 ms. Everything else is read in a child process,
/// up to 20 s, because what crashes hwloc must not crash its user.
node_description read_node(const std::string& source);

}  // namespace ballast
