#pragma once
// What the launchers of this folder have in common. A launcher (`*_device`) enqueues kernels on a
// stream of the current device and returns: it allocates nothing, waits for nothing and keeps no
// pointer, so it may be captured in a CUDA graph. Its pointers are to device memory unless it says
// otherwise, "device-readable" being device memory or pinned host memory. It is part of the target
// ballast_kernels_cuda, which exists where CUDA was found.

#include <cstdint>

struct CUstream_st;  // cudaStream_t is a pointer to it

namespace ballast {

using device_stream = CUstream_st*;

/// 0, or the cudaError_t with which a launch was refused.
using device_status = int;

/// What a replayed graph must not freeze. Where a pointer is given, the kernel reads the value
/// there when it runs; otherwise the launcher's argument of the same name holds.
struct replay_values {
  const std::int64_t* valid_tokens =
      nullptr;  ///< one value; below 0 means 0, above the number of tokens means all
  const std::int64_t* step = nullptr;  ///< one value
};

}  // namespace ballast
