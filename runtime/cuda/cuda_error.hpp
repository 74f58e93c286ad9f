#pragma once
// CUDA calls that throw.

#include <cuda_runtime_api.h>

namespace ballast {

/// Throws error(BALLAST_ERROR_SYSTEM) with the call's text, the code's name and CUDA's own text
/// when `code` is not cudaSuccess; error(BALLAST_ERROR_MEMORY) when device memory has run out.
void check_cuda(cudaError_t code, const char* call);

/// Restores the caller's current device when it goes out of scope.
class device_guard {
 public:
  explicit device_guard(int device);
  ~device_guard();
  device_guard(const device_guard&) = delete;
  device_guard& operator=(const device_guard&) = delete;

 private:
  int before_ = 0;
  bool changed_ = false;
};

}  // namespace ballast

#define BALLAST_CUDA(call) ::ballast::check_cuda((call), #call)
