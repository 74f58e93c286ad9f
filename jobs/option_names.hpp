#pragma once
// The words that options take for numbers of the C interface.

#include <cstdint>
#include <string>
#include <vector>

namespace ballast {

// By their numbers in ballast.h.
inline const std::vector<std::string> mode_names = {"dynamic", "record", "static"};
inline const std::vector<std::string> way_names = {"auto", "vacate", "spare", "staged"};
inline const std::vector<std::string> verify_names = {"full", "sample", "off"};
inline const std::vector<std::string> transport_names = {"auto", "copy", "nccl", "mpi", "local"};
inline const std::vector<std::string> prediction_names = {"auto", "sum", "decay", "robust"};

/// Where `name` is among `names`. Throws job_error(usage) naming option and value if it is not.
std::int32_t index_of(const char* option, const std::string& name,
                      const std::vector<std::string>& names);

/// All that --policy may be.
std::vector<std::string> known_policies();

}  // namespace ballast
