#pragma once
// Launching from the .cu files of this folder. On GPUs of compute capability 9.0 and later a kernel
// may be set up while the one before it in the stream still runs, which hides part of the launch;
// every kernel here so begins with wait_for_previous().

#include <cuda_runtime.h>

#include <algorithm>
#include <cstdint>
#include <type_traits>

#include "kernels/device.hpp"

namespace ballast {

/// Returns when all work before this kernel is complete and visible; until then the kernel reads
/// and writes its own registers and shared memory only.
__device__ inline void wait_for_previous() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

/// Lets the next kernel of the stream be set up. Before the CTAs of this one are under way it would
/// take their places.
__device__ inline void let_next_start() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;");
#endif
}

inline int device_attribute(cudaDeviceAttr attribute) {
  int device = 0;
  int value = 0;
  cudaGetDevice(&device);
  cudaDeviceGetAttribute(&value, attribute, device);
  return value;
}

/// The launch's own error, not one left behind by somebody else as cudaGetLastError would tell.
template <typename... Parameters>
device_status launch(void (*kernel)(Parameters...), std::int64_t ctas, int threads,
                     std::size_t shared_bytes, device_stream stream,
                     const std::type_identity_t<Parameters>&... arguments) {
  cudaLaunchConfig_t config = {};
  config.gridDim = dim3(static_cast<unsigned>(ctas));
  config.blockDim = dim3(static_cast<unsigned>(threads));
  config.dynamicSmemBytes = shared_bytes;
  config.stream = stream;
  cudaLaunchAttribute overlap = {};
  overlap.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  overlap.val.programmaticStreamSerializationAllowed = 1;
  config.attrs = &overlap;
  config.numAttrs = device_attribute(cudaDevAttrComputeCapabilityMajor) >= 9 ? 1 : 0;
  return cudaLaunchKernelEx(&config, kernel, arguments...);
}

/// `per_multiprocessor` CTAs for each multiprocessor of the current device, but no more than there
/// is work for; at least 1.
inline std::int64_t ctas_for(std::int64_t work, int per_multiprocessor) {
  const std::int64_t multiprocessors = device_attribute(cudaDevAttrMultiProcessorCount);
  return std::clamp<std::int64_t>(work, 1, multiprocessors * per_multiprocessor);
}

}  // namespace ballast
