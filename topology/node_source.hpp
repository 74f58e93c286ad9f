#pragma once
// The source of a node's description, checked before hwloc sees it: hwloc says little about what is
// wrong with a file, and builds whatever number of objects a synthetic description asks for.

#include <string>

namespace ballast {

/// Throws std::invalid_argument: one line that names the source ("": this machine) and the reason.
[[noreturn]] void refuse_source(const std::string& source, const std::string& reason);

/// The text of an hwloc XML file. Refuses what is missing, unreadable, not a regular file, empty,
/// larger than 64 MiB, not text, without a <topology>, of a version other than 1 and 2, or without
/// its end.
std::string read_hwloc_xml(const std::string& path);

/// Refuses a synthetic description whose counts multiply to more CPUs than a node may have.
void check_synthetic(const std::string& source);

}  // namespace ballast
