#pragma once
// Dividing the bytes of experts among CTAs, for kernels that stream over weights. Tensors are cut
// into granules, dealt to the CTAs in turn: all CTAs together sweep over the memory side by side,
// which DRAM serves faster than a far-away range for each.

#include "kernels/expert_rows.hpp"

namespace ballast {

/// With CTAs of `threads` threads: one 16-byte access of each thread.
template <int threads>
constexpr std::uint64_t granule_bytes = threads * 16;

template <int threads>
BALLAST_HOST_DEVICE inline std::int64_t granules_in(std::uint64_t bytes) {
  return static_cast<std::int64_t>((bytes + granule_bytes<threads> - 1) / granule_bytes<threads>);
}

template <int threads>
std::int64_t granules_of(const expert_shape& shape) {
  std::int64_t granules = 0;
  for (int t = 0; t < shape.tensors; ++t) granules += granules_in<threads>(shape.bytes[t]);
  return granules;
}

/// Calls use(expert, tensor, granule) for each tensor of which this CTA has granules: `granule` and
/// every gridDim.x-th after it. All threads of the CTA make the same calls.
template <int threads, typename Use>
__device__ void for_each_tensor(const expert_shape& shape, std::int64_t granules_per_expert,
                                std::int64_t experts, const Use& use) {
  const std::int64_t total = granules_per_expert * experts;
  std::int64_t at = blockIdx.x;
  while (at < total) {
    const std::int64_t expert = at / granules_per_expert;
    std::int64_t first = expert * granules_per_expert;  // of the tensor
    for (int tensor = 0; tensor < shape.tensors; ++tensor) {
      const std::int64_t end = first + granules_in<threads>(shape.bytes[tensor]);
      if (at < end) {
        use(expert, tensor, at - first);
        at += (end - at + gridDim.x - 1) / gridDim.x * gridDim.x;
      }
      first = end;
    }
  }
}

}  // namespace ballast
