// copy_experts: rows to packed buffers, back, and from row to row.
//
// Shapes: [experts][tensors] byte rows of any size; 16 bytes an access where both sides are aligned
// to it, else 4 or 1. Granules of 16 bytes a thread are dealt to the CTAs in turn. Bytes: each read
// once and written once, past the caches (__ldcs, __stcs). Floor: twice the bytes over the memory
// bandwidth. Why this grid: one CTA of 1024 threads a multiprocessor with 32 bytes in flight each;
// more in flight or more CTAs are slower (33.3 to 40 us). Measured on an H100 80GB, 2026-11-22: an
// expert of 42 MiB in 6 tensors 32.9 us, 2,682 GB/s read and written, 94 % of a cudaMemcpyAsync of
// 42 MiB.
#include "kernels/expert_pieces.cuh"
#include "kernels/launch.cuh"
#include "kernels/pack.hpp"

namespace ballast {
namespace {

constexpr int threads = 1024;
constexpr int in_flight = 2;  // loads of a thread before its first store

// Words of type Word, to which both sides are aligned; granules `granule`, + gridDim.x, ... of a
// tensor. Less than a word remains.
template <typename Word>
__device__ void copy_words(const unsigned char* from, unsigned char* to, std::uint64_t bytes,
                           std::int64_t granule) {
  const auto* source = reinterpret_cast<const Word*>(from);
  auto* target = reinterpret_cast<Word*>(to);
  constexpr std::uint64_t words_per_granule = granule_bytes<threads> / sizeof(Word);
  const std::uint64_t words = bytes / sizeof(Word);
  const std::uint64_t stride = gridDim.x * words_per_granule;
  for (std::uint64_t lane = threadIdx.x; lane < words_per_granule; lane += threads) {
    std::uint64_t i = static_cast<std::uint64_t>(granule) * words_per_granule + lane;
    for (; i + (in_flight - 1) * stride < words; i += in_flight * stride) {
      Word word[in_flight];
#pragma unroll
      for (int j = 0; j < in_flight; ++j) word[j] = __ldcs(source + i + j * stride);
#pragma unroll
      for (int j = 0; j < in_flight; ++j) __stcs(target + i + j * stride, word[j]);
    }
    for (; i < words; i += stride) __stcs(target + i, __ldcs(source + i));
  }
}

// Rows: expert_rows or picked_experts.
template <typename Rows>
__global__ void __launch_bounds__(threads, 1)
    copy_experts(const __grid_constant__ expert_shape shape, const __grid_constant__ Rows from,
                 const __grid_constant__ Rows to, std::int64_t granules_per_expert,
                 std::int64_t experts) {
  wait_for_previous();
  for_each_tensor<threads>(shape, granules_per_expert, experts,
                           [&](std::int64_t expert, int tensor, std::int64_t granule) {
                             const unsigned char* source = address_of(shape, from, expert, tensor);
                             unsigned char* target = address_of(shape, to, expert, tensor);
                             const std::uint64_t bytes = shape.bytes[tensor];
                             const auto misaligned = reinterpret_cast<std::uintptr_t>(source) |
                                                     reinterpret_cast<std::uintptr_t>(target);
                             std::uint64_t word_bytes = 1;
                             if (misaligned % sizeof(uint4) == 0) {
                               copy_words<uint4>(source, target, bytes, granule);
                               word_bytes = sizeof(uint4);
                             } else if (misaligned % sizeof(unsigned) == 0) {
                               copy_words<unsigned>(source, target, bytes, granule);
                               word_bytes = sizeof(unsigned);
                             } else {
                               copy_words<unsigned char>(source, target, bytes, granule);
                             }
                             const std::uint64_t tail = bytes % word_bytes;
                             if (granule == 0 && threadIdx.x < tail)
                               target[bytes - tail + threadIdx.x] =
                                   source[bytes - tail + threadIdx.x];
                           });
}

template <typename Rows>
device_status copy_on_device(const expert_shape& shape, const Rows& from, const Rows& to,
                             std::int64_t experts, int ctas, device_stream stream) {
  const std::int64_t granules = granules_of<threads>(shape);
  if (granules * experts <= 0) return 0;
  const std::int64_t grid = ctas > 0 ? ctas : ctas_for(granules * experts, 1);
  return launch(copy_experts<Rows>, grid, threads, 0, stream, shape, from, to, granules, experts);
}

}  // namespace

device_status copy_experts_device(const expert_shape& shape, const expert_rows& from,
                                  const expert_rows& to, std::int64_t experts, int ctas,
                                  device_stream stream) {
  return copy_on_device(shape, from, to, experts, ctas, stream);
}

device_status copy_picked_device(const expert_shape& shape, const picked_experts& from,
                                 const picked_experts& to, int experts, int ctas,
                                 device_stream stream) {
  return copy_on_device(shape, from, to, experts, ctas, stream);
}

}  // namespace ballast
