#include "tests/gpu/engine/moe_kernels.hpp"

namespace moe {
namespace {

__device__ unsigned mix(unsigned x) {
  x ^= x >> 16;
  x *= 0x7feb352du;
  x ^= x >> 15;
  x *= 0x846ca68bu;
  return x ^ (x >> 16);
}

// In [-3, 3].
__device__ std::int8_t weight(int layer, int expert, int position) {
  return static_cast<std::int8_t>(
      static_cast<int>(mix(layer * 40503u + expert * 2654435761u + position * 97u) % 7) - 3);
}

__device__ std::int8_t filler(int layer, int expert, std::int64_t at) {
  return static_cast<std::int8_t>(mix(static_cast<unsigned>(at) ^ (layer * 131u + expert)));
}

__global__ void fill_row_kernel(std::int8_t* row, std::int64_t row_bytes, shape s, int expert) {
  const std::int64_t stride = static_cast<std::int64_t>(gridDim.x) * blockDim.x;
  const std::int64_t weights = static_cast<std::int64_t>(s.hidden) * s.hidden;
  for (std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
       i < row_bytes; i += stride) {
    row[i] =
        i < weights ? weight(s.layer, expert, static_cast<int>(i)) : filler(s.layer, expert, i);
  }
}

__global__ void fill_matrix_kernel(__nv_bfloat16* matrix, std::int64_t count, unsigned seed) {
  const std::int64_t stride = static_cast<std::int64_t>(gridDim.x) * blockDim.x;
  for (std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < count;
       i += stride) {
    const unsigned draw = mix(static_cast<unsigned>(i) + seed * 2654435761u);
    matrix[i] = __float2bfloat16(static_cast<float>(static_cast<int>(draw)) * 0x1p-31f);
  }
}

__global__ void count_pass_kernel(std::int64_t* step) { ++*step; }

// A geometric choice over a ranking of the experts that turns a little every pass.
__global__ void choose_kernel(std::int32_t* ids, const std::int64_t* step, shape s) {
  const int token = blockIdx.x * blockDim.x + threadIdx.x;
  if (token >= s.tokens) return;
  const unsigned turn = static_cast<unsigned>(*step / 16);
  for (int c = 0; c < s.columns; ++c) {
    const unsigned draw = mix(static_cast<unsigned>(*step) * 7919u +
                              (s.rank * s.tokens + token) * 31u + c * 17u + s.layer * 1009u);
    int place = __clz(draw | 1u) * s.experts / 16;
    place = (place + static_cast<int>(mix(draw) % (1 + s.experts / 4))) % s.experts;
    int expert = static_cast<int>((place + turn + s.layer * 5) % s.experts);
    for (bool taken = true; taken;) {
      taken = false;
      for (int b = 0; b < c; ++b) taken |= ids[token * s.columns + b] == expert;
      if (taken) expert = (expert + 1) % s.experts;
    }
    ids[token * s.columns + c] = expert;
  }
}

// A CTA for each token of all ranks, a thread for each value of its state.
__global__ void run_experts_kernel(std::int32_t* partial, const std::int32_t* states,
                                   const std::int32_t* slots, const std::int8_t* rows,
                                   std::int64_t row_stride, shape s) {
  extern __shared__ std::int32_t state[];
  const int token = blockIdx.x;
  const int h = threadIdx.x;
  state[h] = states[static_cast<std::int64_t>(token) * s.hidden + h];
  __syncthreads();
  std::int32_t sum = 0;
  for (int c = 0; c < s.columns; ++c) {
    const int slot = slots[token * s.columns + c];
    if (slot < 0 || slot / s.rows_per_rank != s.rank) continue;
    const std::int8_t* row = rows + slot % s.rows_per_rank * row_stride;
    for (int j = 0; j < s.hidden; ++j) sum += row[h * s.hidden + j] * state[j];
  }
  partial[static_cast<std::int64_t>(token) * s.hidden + h] = sum;
}

__global__ void finish_kernel(std::int32_t* states, const std::int32_t* parts,
                              const std::int32_t* before, const std::int32_t* ids,
                              unsigned long long* wrong, shape s) {
  extern __shared__ std::int32_t state[];
  const int token = blockIdx.x;
  const int h = threadIdx.x;
  state[h] = before[static_cast<std::int64_t>(token) * s.hidden + h];
  __syncthreads();
  std::int32_t expected = 0;
  for (int c = 0; c < s.columns; ++c) {
    const int expert = ids[token * s.columns + c];
    for (int j = 0; j < s.hidden; ++j)
      expected += weight(s.layer, expert, h * s.hidden + j) * state[j];
  }
  std::int32_t sum = 0;
  for (int r = 0; r < s.ranks; ++r)
    sum += parts[(static_cast<std::int64_t>(r) * s.tokens + token) * s.hidden + h];
  if (sum != expected) atomicAdd(wrong, 1ull);
  states[static_cast<std::int64_t>(token) * s.hidden + h] = (state[h] + sum) % 16;
}

}  // namespace

void fill_row(std::int8_t* row, std::int64_t row_bytes, const shape& s, int expert,
              cudaStream_t stream) {
  fill_row_kernel<<<264, 256, 0, stream>>>(row, row_bytes, s, expert);
}

void fill_matrix(__nv_bfloat16* matrix, std::int64_t count, unsigned seed, cudaStream_t stream) {
  fill_matrix_kernel<<<264, 256, 0, stream>>>(matrix, count, seed);
}

void count_pass(std::int64_t* step, cudaStream_t stream) {
  count_pass_kernel<<<1, 1, 0, stream>>>(step);
}

void choose(std::int32_t* ids, const std::int64_t* step, const shape& s, cudaStream_t stream) {
  choose_kernel<<<(s.tokens + 63) / 64, 64, 0, stream>>>(ids, step, s);
}

void run_experts(std::int32_t* partial, const std::int32_t* states, const std::int32_t* slots,
                 const std::int8_t* rows, std::int64_t row_stride, const shape& s,
                 cudaStream_t stream) {
  run_experts_kernel<<<s.ranks * s.tokens, s.hidden, s.hidden * sizeof(std::int32_t), stream>>>(
      partial, states, slots, rows, row_stride, s);
}

void finish(std::int32_t* states, const std::int32_t* parts, const std::int32_t* before,
            const std::int32_t* ids, unsigned long long* wrong, const shape& s,
            cudaStream_t stream) {
  finish_kernel<<<s.tokens, s.hidden, s.hidden * sizeof(std::int32_t), stream>>>(
      states, parts, before, ids, wrong, s);
}

}  // namespace moe
