#include "runtime/cuda/cuda_error.hpp"

#include <fmt/format.h>

#include "runtime/error.hpp"

namespace ballast {

void check_cuda(cudaError_t code, const char* call) {
  if (code == cudaSuccess) return;
  cudaGetLastError();  // what does not stick is told once
  const ballast_status status =
      code == cudaErrorMemoryAllocation ? BALLAST_ERROR_MEMORY : BALLAST_ERROR_SYSTEM;
  throw error(status,
              fmt::format("{}: {}: {}", call, cudaGetErrorName(code), cudaGetErrorString(code)));
}

device_guard::device_guard(int device) {
  BALLAST_CUDA(cudaGetDevice(&before_));
  if (before_ == device) return;
  BALLAST_CUDA(cudaSetDevice(device));
  changed_ = true;
}

device_guard::~device_guard() {
  if (changed_) cudaSetDevice(before_);
}

}  // namespace ballast
