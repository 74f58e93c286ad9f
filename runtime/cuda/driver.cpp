#include "runtime/cuda/driver.hpp"

#include <cuda.h>
#include <fmt/format.h>

#include "runtime/cuda/cuda_error.hpp"
#include "runtime/error.hpp"

namespace ballast {
namespace {

constexpr unsigned interface_version = 12000;  // of the functions below

template <typename Function>
Function look_up(const char* name) {
  void* found = nullptr;
  cudaDriverEntryPointQueryResult result = cudaDriverEntryPointSymbolNotFound;
  BALLAST_CUDA(cudaGetDriverEntryPointByVersion(name, &found, interface_version, cudaEnableDefault,
                                                &result));
  if (result != cudaDriverEntryPointSuccess || found == nullptr) {
    throw error(BALLAST_ERROR_SYSTEM, fmt::format("the CUDA driver has no {}", name));
  }
  return reinterpret_cast<Function>(found);
}

}  // namespace

device_allocation allocation_of(const void* address) {
  static const auto get_range =
      look_up<CUresult (*)(CUdeviceptr*, std::size_t*, CUdeviceptr)>("cuMemGetAddressRange");
  CUdeviceptr base = 0;
  std::size_t bytes = 0;
  if (get_range(&base, &bytes, reinterpret_cast<CUdeviceptr>(address)) != CUDA_SUCCESS) {
    throw error(BALLAST_ERROR_INVALID_ARGUMENT,
                fmt::format("{} is in no allocation of device memory", address));
  }
  return {static_cast<std::uintptr_t>(base), bytes};
}

void write_value(cudaStream_t stream, std::int64_t* at, std::int64_t value) {
  static const auto write =
      look_up<CUresult (*)(CUstream, CUdeviceptr, cuuint64_t, unsigned)>("cuStreamWriteValue64");
  const CUresult code = write(stream, reinterpret_cast<CUdeviceptr>(at),
                              static_cast<cuuint64_t>(value), CU_STREAM_WRITE_VALUE_DEFAULT);
  if (code != CUDA_SUCCESS) {
    throw error(BALLAST_ERROR_SYSTEM, fmt::format("cuStreamWriteValue64 failed with CUresult {}",
                                                  static_cast<int>(code)));
  }
}

}  // namespace ballast
