#pragma once
// What a rank tells the others of its island about the memory of its rows and its staging.

#include <cuda_runtime_api.h>

#include <cstdint>
#include <vector>

#include "runtime/cuda/device_memory.hpp"

namespace ballast {

/// An allocation, or a piece that was mapped, as its owner describes it.
struct exported_memory {
  cudaIpcMemHandle_t handle = {};
  std::uint64_t base = 0;  ///< in its owner's memory
  std::uint64_t bytes = 0;
  std::uint64_t probe_hash = 0;  ///< of its first bytes
  std::int32_t refusal = 0;      ///< the cudaError_t with which it could not be exported, or 0
  std::int32_t is_piece = 0;     ///< 1: it has a file descriptor instead of a handle
};

/// Where a tensor's rows or the staging begin in their owner's memory.
struct exported_place {
  std::uint64_t base = 0;
  std::uint64_t stride = 0;
};

struct peer_exports {
  std::vector<exported_memory> memory;  ///< by address
  std::vector<exported_place> places;   ///< of all tensors, then of the staging
};
peer_exports exports_of(const device_memory& mine);

/// How much of an allocation is compared, and its hash; `device_bytes` as this process sees it.
constexpr std::size_t probe_bytes_max = 4096;
std::uint64_t hash_of_probe(const void* device_bytes, std::size_t bytes);

}  // namespace ballast
