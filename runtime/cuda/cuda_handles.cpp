#include "runtime/cuda/cuda_handles.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "runtime/error.hpp"

namespace ballast {

background_stream::background_stream(priority which) {
  int lowest = 0;
  int highest = 0;
  BALLAST_CUDA(cudaDeviceGetStreamPriorityRange(&lowest, &highest));
  cudaStream_t stream = nullptr;
  BALLAST_CUDA(cudaStreamCreateWithPriority(&stream, cudaStreamNonBlocking,
                                            which == priority::low ? lowest : highest));
  stream_.reset(stream);
}

event::event() {
  cudaEvent_t event = nullptr;
  BALLAST_CUDA(cudaEventCreateWithFlags(&event, cudaEventDisableTiming));
  event_.reset(event);
}

bool event::passed() const {
  const cudaError_t code = cudaEventQuery(event_.get());
  if (code == cudaErrorNotReady) return false;
  check_cuda(code, "cudaEventQuery");
  return true;
}

void* allocate_device(std::size_t bytes) {
  void* memory = nullptr;
  if (cudaMalloc(&memory, std::max<std::size_t>(bytes, 1)) == cudaSuccess) return memory;
  cudaGetLastError();
  std::size_t free = 0;
  std::size_t total = 0;
  cudaMemGetInfo(&free, &total);
  throw error(BALLAST_ERROR_MEMORY,
              fmt::format("{} bytes of device memory cannot be allocated, {} of {} are free", bytes,
                          free, total));
}

void* allocate_pinned(std::size_t bytes) {
  void* memory = nullptr;
  if (cudaHostAlloc(&memory, std::max<std::size_t>(bytes, 1), cudaHostAllocPortable) ==
      cudaSuccess) {
    return memory;
  }
  cudaGetLastError();
  throw error(BALLAST_ERROR_MEMORY,
              fmt::format("{} bytes of pinned host memory cannot be allocated", bytes));
}

}  // namespace ballast
