#pragma once
// The few functions of the CUDA driver that the runtime library has no counterpart of. They are
// looked up at run time, so that a machine without a driver still runs the host backend.

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>

namespace ballast {

/// The allocation that holds `address`.
struct device_allocation {
  std::uintptr_t base = 0;
  std::size_t bytes = 0;
};
/// Throws error(INVALID_ARGUMENT) if the address is in no allocation of device memory.
device_allocation allocation_of(const void* address);

/// Writes `value` to device memory in stream order, without a kernel.
void write_value(cudaStream_t stream, std::int64_t* at, std::int64_t value);

}  // namespace ballast
