// Kernels that load the GPU, and that fill and check rows around what is measured. Each reads or
// writes every byte once, so its floor is those bytes at the device's bandwidth; read_all is made
// to reach it, the others are not timed.
#include <algorithm>

#include "jobs/bench/cuda/load_kernels.hpp"

namespace ballast::gpu {
namespace {

constexpr int threads = 512;

__host__ __device__ std::uint64_t mix(std::uint64_t x) {
  x ^= x >> 30;
  x *= 0xbf58476d1ce4e5b9ull;
  x ^= x >> 27;
  x *= 0x94d049bb133111ebull;
  return x ^ (x >> 31);
}

__device__ std::uint64_t word_of(std::uint64_t key, std::size_t i) {
  return mix(key + (i + 1) * 0x9e3779b97f4a7c15ull);
}

// The part of a row's word i that lies inside `bytes` bytes, as a mask.
__device__ std::uint64_t inside(std::size_t i, std::size_t bytes) {
  const std::size_t left = bytes - i * 8;
  return left >= 8 ? ~0ull : (1ull << (8 * left)) - 1;
}

__device__ std::size_t first_of_thread() {
  return static_cast<std::size_t>(blockIdx.x) * blockDim.x + threadIdx.x;
}
__device__ std::size_t thread_count() { return static_cast<std::size_t>(gridDim.x) * blockDim.x; }

// One thread a word; the last word byte by byte, so that nothing behind the row is written.
__global__ void fill_row_kernel(void* row, std::size_t bytes, std::uint64_t key) {
  for (std::size_t i = first_of_thread(); i * 8 < bytes; i += thread_count()) {
    const std::uint64_t word = word_of(key, i);
    if (bytes - i * 8 >= 8) {
      static_cast<std::uint64_t*>(row)[i] = word;
    } else {
      for (std::size_t b = i * 8; b < bytes; ++b)
        static_cast<std::uint8_t*>(row)[b] = static_cast<std::uint8_t>(word >> (8 * (b - i * 8)));
    }
  }
}

__device__ std::uint64_t read_word(const void* row, std::size_t i, std::size_t bytes) {
  if (bytes - i * 8 >= 8) return static_cast<const std::uint64_t*>(row)[i];
  std::uint64_t word = 0;
  for (std::size_t b = i * 8; b < bytes; ++b)
    word |= static_cast<std::uint64_t>(static_cast<const std::uint8_t*>(row)[b])
            << (8 * (b - i * 8));
  return word;
}

__global__ void count_wrong_kernel(const void* row, std::size_t bytes, std::uint64_t key,
                                   std::uint64_t* wrong) {
  unsigned long long mine = 0;
  for (std::size_t i = first_of_thread(); i * 8 < bytes; i += thread_count())
    mine += read_word(row, i, bytes) != (word_of(key, i) & inside(i, bytes));
  if (mine != 0) atomicAdd(reinterpret_cast<unsigned long long*>(wrong), mine);
}

// 16 bytes a thread and load, eight loads in flight; as fast as memory gives them.
__global__ void __launch_bounds__(threads)
    read_all_kernel(const uint4* words, std::size_t count, std::uint64_t* sum) {
  constexpr int in_flight = 8;
  std::uint32_t mine = 0;
  std::size_t i = first_of_thread();
  const std::size_t stride = thread_count();
  for (; i + (in_flight - 1) * stride < count; i += in_flight * stride) {
    uint4 w[in_flight];
#pragma unroll
    for (int k = 0; k < in_flight; ++k) w[k] = __ldcs(words + i + k * stride);
#pragma unroll
    for (int k = 0; k < in_flight; ++k) mine += w[k].x ^ w[k].y ^ w[k].z ^ w[k].w;
  }
  for (; i < count; i += stride) {
    const uint4 w = __ldcs(words + i);
    mine += w.x ^ w.y ^ w.z ^ w.w;
  }
  mine = __reduce_add_sync(0xffffffffu, mine);
  if (threadIdx.x % 32 == 0 && mine != 0)
    atomicAdd(reinterpret_cast<unsigned long long*>(sum), static_cast<unsigned long long>(mine));
}

// Sign, and exponent and mantissa unless they are those of 1, from the index.
__global__ void fill_bf16_kernel(std::uint16_t* values, std::size_t count, bf16_values which) {
  for (std::size_t i = first_of_thread(); i < count; i += thread_count()) {
    const std::uint64_t random = word_of(0x62663136, i);
    const std::uint64_t magnitude = which == bf16_values::signs ? 0x3f80 : 0x3f00 + (random & 0xff);
    values[i] = static_cast<std::uint16_t>((random & 0x8000) | magnitude);
  }
}

int blocks_for(std::size_t items) {
  return static_cast<int>(std::clamp<std::size_t>((items + threads - 1) / threads, 1, 2048));
}

}  // namespace

std::uint64_t content_key(int layer, int expert, int tensor) {
  return mix((static_cast<std::uint64_t>(layer) << 40) ^ (static_cast<std::uint64_t>(expert) << 8) ^
             static_cast<std::uint64_t>(tensor) ^ 0x42616c6c617374ull);
}

cudaError_t fill_row(void* row, std::size_t bytes, std::uint64_t key, cudaStream_t stream) {
  fill_row_kernel<<<blocks_for((bytes + 7) / 8), threads, 0, stream>>>(row, bytes, key);
  return cudaGetLastError();
}

cudaError_t count_wrong_words(const void* row, std::size_t bytes, std::uint64_t key,
                              std::uint64_t* wrong, cudaStream_t stream) {
  count_wrong_kernel<<<blocks_for((bytes + 7) / 8), threads, 0, stream>>>(row, bytes, key, wrong);
  return cudaGetLastError();
}

cudaError_t read_all(const uint4* words, std::size_t count, std::uint64_t* sum, int multiprocessors,
                     cudaStream_t stream) {
  read_all_kernel<<<multiprocessors * 4, threads, 0, stream>>>(words, count, sum);
  return cudaGetLastError();
}

cudaError_t fill_bf16(std::uint16_t* values, std::size_t count, bf16_values which,
                      cudaStream_t stream) {
  fill_bf16_kernel<<<blocks_for(count), threads, 0, stream>>>(values, count, which);
  return cudaGetLastError();
}

}  // namespace ballast::gpu
