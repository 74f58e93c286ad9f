#pragma once
// Runs a function in a child process. hwloc 2.9 aborts or crashes on about one in a hundred damaged
// XML files; there it takes a child with it, whose complaints on stderr nobody sees, and the caller
// gets an exception.

#include <chrono>
#include <cstddef>
#include <functional>
#include <vector>

namespace ballast {

/// Forks, calls `make` in the child and returns what it returned. `make` must not touch MPI, CUDA
/// or files of this process. Blocks up to `deadline`. A std::invalid_argument that `make` throws is
/// thrown here again. Throws std::runtime_error saying why there is no answer otherwise: `make`
/// threw something else, no process could be made, it ended by a signal, or it was too late. The
/// child never outlives the call.
std::vector<std::byte> run_in_child(const std::function<std::vector<std::byte>()>& make,
                                    std::chrono::milliseconds deadline);

}  // namespace ballast
