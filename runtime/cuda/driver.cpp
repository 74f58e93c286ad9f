#include "runtime/cuda/driver.hpp"

#include <fmt/format.h>

#include "runtime/cuda/cuda_error.hpp"
#include "runtime/error.hpp"

namespace ballast {

void* driver_function(const char* name) {
  constexpr unsigned interface_version = 12000;  // of the functions that are used
  void* found = nullptr;
  cudaDriverEntryPointQueryResult result = cudaDriverEntryPointSymbolNotFound;
  BALLAST_CUDA(cudaGetDriverEntryPointByVersion(name, &found, interface_version, cudaEnableDefault,
                                                &result));
  if (result != cudaDriverEntryPointSuccess || found == nullptr) {
    throw error(BALLAST_ERROR_SYSTEM, fmt::format("the CUDA driver has no {}", name));
  }
  return found;
}

namespace {

template <typename Function>
Function look_up(const char* name) {
  return reinterpret_cast<Function>(driver_function(name));
}

}  // namespace

bool opens_by_ipc(const void* address) {
  static const auto get_attribute =
      look_up<CUresult (*)(void*, CUpointer_attribute, CUdeviceptr)>("cuPointerGetAttribute");
  int opens = 0;
  return get_attribute(&opens, CU_POINTER_ATTRIBUTE_IS_LEGACY_CUDA_IPC_CAPABLE,
                       reinterpret_cast<CUdeviceptr>(address)) == CUDA_SUCCESS &&
         opens != 0;
}

std::vector<device_allocation> allocations_of(const void* address, std::size_t bytes) {
  static const auto get_range =
      look_up<CUresult (*)(CUdeviceptr*, std::size_t*, CUdeviceptr)>("cuMemGetAddressRange");
  std::vector<device_allocation> found;
  const auto begin = reinterpret_cast<CUdeviceptr>(address);
  CUdeviceptr at = begin;
  do {
    CUdeviceptr base = 0;
    std::size_t size = 0;
    if (get_range(&base, &size, at) != CUDA_SUCCESS) break;
    found.push_back({static_cast<std::uintptr_t>(base), size});
    at = base + size;
  } while (at < begin + bytes && !opens_by_ipc(address));
  return found;
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
