#pragma once
// The small kernels of a replay on a GPU. Each launcher returns the launch's error and works on
// `stream`; pointers are device memory. All sums are of integers, so their order does not matter.

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>

#include "jobs/replay/rules.hpp"

namespace ballast {

using device_counter = unsigned long long;  // what atomicAdd takes

/// One tensor's row; `at` is aligned to 16 bytes.
struct device_row {
  std::byte* at;
  std::size_t bytes;
  weight_rule rule;
};
cudaError_t fill_row(const device_row& row, cudaStream_t stream);
/// Adds the number of bytes that are not as the rule says to *wrong.
cudaError_t count_wrong_bytes(const device_row& row, device_counter* wrong, cudaStream_t stream);

/// Adds to routed [ranks] how many of `count` slots are on each rank; slots of -1 are on none.
cudaError_t count_routed(const std::int32_t* slots, std::int64_t count, int rows_per_rank,
                         device_counter* routed, cudaStream_t stream);

struct activation_source {
  std::int64_t step;
  int layer;
  int rank;
};
/// x: [tokens][hidden]
cudaError_t make_activations(const activation_source& source, std::int64_t tokens, int hidden,
                             float* x, cudaStream_t stream);

/// Row i of `to` [rows][width] is row index[i] of `from`.
cudaError_t gather_rows(const float* from, const std::int32_t* index, std::int64_t rows, int width,
                        float* to, cudaStream_t stream);

/// gate[i] becomes inner_of(gate[i], up[i]).
cudaError_t apply_inner(float* gate, const float* up, std::int64_t count, cudaStream_t stream);

/// outputs [tokens][hidden]: the sum over columns c, in their order, of (c + 1) times row
/// item[token][c] of `results`; an item of -1 adds nothing.
struct combination {
  const float* results;
  const std::int32_t* item;  ///< [tokens][columns]
  std::int64_t tokens;
  int columns;
  int hidden;
};
cudaError_t combine(const combination& what, float* outputs, cudaStream_t stream);

/// Adds how many of a[i] and b[i] are not equal (NaN is equal to nothing) to *different.
cudaError_t count_different(const float* a, const float* b, std::int64_t count,
                            device_counter* different, cudaStream_t stream);

}  // namespace ballast
