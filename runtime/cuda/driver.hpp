#pragma once
// The few functions of the CUDA driver that the runtime library has no counterpart of. They are
// looked up at run time, so that a machine without a driver still runs the host backend.

#include <cuda.h>
#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>
#include <vector>

namespace ballast {

/// The function of the driver with that name. Throws error(SYSTEM) if it has none.
void* driver_function(const char* name);

/// Calls it; the CUresult, 0 for success. The arguments have the types of its parameters.
template <typename... Arguments>
CUresult call_driver(const char* name, Arguments... arguments) {
  return reinterpret_cast<CUresult (*)(Arguments...)>(driver_function(name))(arguments...);
}

/// The same where something is released, and nothing can be done if that fails.
template <typename... Arguments>
void release_by_driver(const char* name, Arguments... arguments) noexcept {
  try {
    call_driver(name, arguments...);
  } catch (...) {  // the process is at its end, or the GPU is lost
  }
}

struct device_allocation {
  std::uintptr_t base = 0;
  std::size_t bytes = 0;
};

/// Whether other processes can open what holds `address` by CUDA IPC. Memory that was mapped
/// (cuMemMap), as PyTorch's expandable segments are piece by piece, they cannot.
bool opens_by_ipc(const void* address);

/// The allocations that hold [address, address + bytes) or its beginning: one, or the pieces that
/// were mapped one behind the other. Two of cudaMalloc that lie side by side by chance are not one.
std::vector<device_allocation> allocations_of(const void* address, std::size_t bytes);

/// Writes `value` to device memory in stream order, without a kernel.
void write_value(cudaStream_t stream, std::int64_t* at, std::int64_t value);

}  // namespace ballast
