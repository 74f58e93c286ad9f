#pragma once
// The kernels of a small MoE model whose arithmetic is exact (32-bit integers), so that its outputs
// are the same bits wherever an expert's replica computes them. Weights follow from layer, expert
// and position, so that any output can be checked without weights.

#include <cuda_bf16.h>
#include <cuda_runtime_api.h>

#include <cstdint>

namespace moe {

/// Of one layer on one rank.
struct shape {
  int tokens;  ///< of this rank
  int columns;
  int hidden;
  int experts;
  int ranks;
  int rows_per_rank;
  int rank;
  int layer;
};

/// int8 weights [hidden][hidden] of an expert, then whatever else `row_bytes` has room for.
void fill_row(std::int8_t* row, std::int64_t row_bytes, const shape& s, int expert,
              cudaStream_t stream);

/// Random values in [-1, 1] that follow from `seed` and position.
void fill_matrix(__nv_bfloat16* matrix, std::int64_t count, unsigned seed, cudaStream_t stream);

/// Adds 1 to *step, once for each pass.
void count_pass(std::int64_t* step, cudaStream_t stream);

/// The router: [tokens][columns] different experts for each token, skewed, drifting with *step.
void choose(std::int32_t* ids, const std::int64_t* step, const shape& s, cudaStream_t stream);

/// For all ranks' tokens (`states` [ranks * tokens][hidden], `slots` [ranks * tokens][columns]):
/// what the experts in this rank's rows add to each, zero where there is none. `partial`: as
/// `states`.
void run_experts(std::int32_t* partial, const std::int32_t* states, const std::int32_t* slots,
                 const std::int8_t* rows, std::int64_t row_stride, const shape& s,
                 cudaStream_t stream);

/// `states` of this rank's tokens become the sums of `parts` ([ranks][tokens][hidden]: what each
/// rank's experts add) reduced to small numbers; counts in *wrong what is not what the experts
/// `ids` give.
void finish(std::int32_t* states, const std::int32_t* parts, const std::int32_t* before,
            const std::int32_t* ids, unsigned long long* wrong, const shape& s,
            cudaStream_t stream);

}  // namespace moe
