// Each kernel reads and writes every element once, so its floor is those bytes at the device's
// bandwidth. Grids stride: enough CTAs to fill any GPU, no more than there is work for.
#include <algorithm>

#include "jobs/replay/cuda/replay_kernels.hpp"

namespace ballast {
namespace {

constexpr int threads = 256;

int ctas_for(std::int64_t elements) {
  constexpr std::int64_t ctas_max = 2048;
  return static_cast<int>(
      std::clamp<std::int64_t>((elements + threads - 1) / threads, 1, ctas_max));
}

__device__ std::int64_t first_element() {
  return static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
}
__device__ std::int64_t element_stride() {
  return static_cast<std::int64_t>(gridDim.x) * blockDim.x;
}

// Bytes of word i that belong to the row: 8, or fewer at its end.
__device__ int bytes_of_word(const device_row& row, std::int64_t i) {
  const std::size_t left = row.bytes - 8 * static_cast<std::size_t>(i);
  return left < 8 ? static_cast<int>(left) : 8;
}

std::int64_t words_of(const device_row& row) {
  return static_cast<std::int64_t>((row.bytes + 7) / 8);
}

// A thread writes 8 bytes at a time; the bytes between rows are left alone.
__global__ void fill_row_kernel(device_row row, std::int64_t words) {
  for (std::int64_t i = first_element(); i < words; i += element_stride()) {
    const std::uint64_t word = row.rule.word(static_cast<std::size_t>(i));
    const int bytes = bytes_of_word(row, i);
    if (bytes == 8) {
      reinterpret_cast<std::uint64_t*>(row.at)[i] = word;
    } else {
      for (int b = 0; b < bytes; ++b) row.at[8 * i + b] = static_cast<std::byte>(word >> 8 * b);
    }
  }
}

// Atomics only where something is wrong.
__global__ void count_wrong_bytes_kernel(device_row row, std::int64_t words,
                                         device_counter* wrong) {
  device_counter found = 0;
  for (std::int64_t i = first_element(); i < words; i += element_stride()) {
    const std::uint64_t expected = row.rule.word(static_cast<std::size_t>(i));
    const int bytes = bytes_of_word(row, i);
    if (bytes == 8 && reinterpret_cast<const std::uint64_t*>(row.at)[i] == expected) continue;
    for (int b = 0; b < bytes; ++b)
      found += row.at[8 * i + b] != static_cast<std::byte>(expected >> 8 * b);
  }
  if (found != 0) atomicAdd(wrong, found);
}

// The lanes of a warp whose slots are on one rank add once. All lanes go round together: `first` is
// the same for a whole CTA.
__global__ void count_routed_kernel(const std::int32_t* slots, std::int64_t count,
                                    int rows_per_rank, device_counter* routed) {
  const int lane = static_cast<int>(threadIdx.x % 32);
  for (std::int64_t first = static_cast<std::int64_t>(blockIdx.x) * blockDim.x; first < count;
       first += element_stride()) {
    const std::int64_t i = first + threadIdx.x;
    const std::int32_t slot = i < count ? slots[i] : -1;
    const int rank = slot < 0 ? -1 : slot / rows_per_rank;
    const unsigned same = __match_any_sync(0xffffffffu, rank);
    if (rank >= 0 && lane == __ffs(static_cast<int>(same)) - 1)
      atomicAdd(&routed[rank], static_cast<device_counter>(__popc(same)));
  }
}

__global__ void make_activations_kernel(activation_source source, std::int64_t count, int hidden,
                                        float* x) {
  for (std::int64_t i = first_element(); i < count; i += element_stride()) {
    x[i] = activation_of(source.step, source.layer, source.rank, i / hidden,
                         static_cast<int>(i % hidden));
  }
}

__global__ void gather_rows_kernel(const float* from, const std::int32_t* index, std::int64_t count,
                                   int width, float* to) {
  for (std::int64_t i = first_element(); i < count; i += element_stride())
    to[i] = from[static_cast<std::int64_t>(index[i / width]) * width + i % width];
}

__global__ void apply_inner_kernel(float* gate, const float* up, std::int64_t count) {
  for (std::int64_t i = first_element(); i < count; i += element_stride())
    gate[i] = inner_of(gate[i], up[i]);
}

__global__ void combine_kernel(combination what, std::int64_t count, float* outputs) {
  for (std::int64_t i = first_element(); i < count; i += element_stride()) {
    const std::int64_t token = i / what.hidden;
    const std::int64_t h = i % what.hidden;
    float sum = 0;
    for (int c = 0; c < what.columns; ++c) {
      const std::int64_t item = what.item[token * what.columns + c];
      if (item >= 0) sum += static_cast<float>(c + 1) * what.results[item * what.hidden + h];
    }
    outputs[i] = sum;
  }
}

__global__ void count_different_kernel(const float* a, const float* b, std::int64_t count,
                                       device_counter* different) {
  device_counter found = 0;
  for (std::int64_t i = first_element(); i < count; i += element_stride()) found += !(a[i] == b[i]);
  if (found != 0) atomicAdd(different, found);
}

}  // namespace

cudaError_t fill_row(const device_row& row, cudaStream_t stream) {
  const std::int64_t words = words_of(row);
  fill_row_kernel<<<ctas_for(words), threads, 0, stream>>>(row, words);
  return cudaGetLastError();
}

cudaError_t count_wrong_bytes(const device_row& row, device_counter* wrong, cudaStream_t stream) {
  const std::int64_t words = words_of(row);
  count_wrong_bytes_kernel<<<ctas_for(words), threads, 0, stream>>>(row, words, wrong);
  return cudaGetLastError();
}

cudaError_t count_routed(const std::int32_t* slots, std::int64_t count, int rows_per_rank,
                         device_counter* routed, cudaStream_t stream) {
  count_routed_kernel<<<ctas_for(count), threads, 0, stream>>>(slots, count, rows_per_rank, routed);
  return cudaGetLastError();
}

cudaError_t make_activations(const activation_source& source, std::int64_t tokens, int hidden,
                             float* x, cudaStream_t stream) {
  const std::int64_t count = tokens * hidden;
  make_activations_kernel<<<ctas_for(count), threads, 0, stream>>>(source, count, hidden, x);
  return cudaGetLastError();
}

cudaError_t gather_rows(const float* from, const std::int32_t* index, std::int64_t rows, int width,
                        float* to, cudaStream_t stream) {
  const std::int64_t count = rows * width;
  gather_rows_kernel<<<ctas_for(count), threads, 0, stream>>>(from, index, count, width, to);
  return cudaGetLastError();
}

cudaError_t apply_inner(float* gate, const float* up, std::int64_t count, cudaStream_t stream) {
  apply_inner_kernel<<<ctas_for(count), threads, 0, stream>>>(gate, up, count);
  return cudaGetLastError();
}

cudaError_t combine(const combination& what, float* outputs, cudaStream_t stream) {
  const std::int64_t count = what.tokens * what.hidden;
  combine_kernel<<<ctas_for(count), threads, 0, stream>>>(what, count, outputs);
  return cudaGetLastError();
}

cudaError_t count_different(const float* a, const float* b, std::int64_t count,
                            device_counter* different, cudaStream_t stream) {
  count_different_kernel<<<ctas_for(count), threads, 0, stream>>>(a, b, count, different);
  return cudaGetLastError();
}

}  // namespace ballast
