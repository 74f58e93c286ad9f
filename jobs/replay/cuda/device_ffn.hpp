#pragma once
// jobs/replay/ffn.hpp on GPUs: the same weights, activations and formula, so the same outputs to
// the bit. Inputs are small integers that TF32 holds exactly, sums are kept in float32.
//
// One run, everything on the compute stream (>) but the plan, which the host makes in between:
//   > slots of all ranks to all, and to the host     who sends what to whom
//   > tokens to items, items to the ranks of their experts
//   > by expert: gate, up, inner, down               cuBLAS, three products for each expert
//   > results back, and combined in the order of the token's columns

#include <cstdint>
#include <memory>

#include "jobs/cuda/blas.hpp"
#include "jobs/replay/cuda/device_weights.hpp"
#include "jobs/replay/cuda/ffn_link.hpp"
#include "jobs/replay/dispatch.hpp"
#include "jobs/replay/ffn.hpp"

namespace ballast {

struct device_ffn_shape {
  ffn_shape sizes;
  int rows_per_rank = 0;
  int columns = 1;
  int tokens_max = 0;
  double deadline_seconds = 30;
};

class device_ffn {
 public:
  /// Collective. Throws job_error(system) where cuBLAS or NCCL is missing.
  device_ffn(const mpi_session& mpi, device_ffn_shape shape, cudaStream_t stream);

  /// Collective. `slots`: [tokens][columns], device memory. outputs: [tokens][hidden].
  struct pass {
    int layer = 0;
    std::int64_t step = 0;
    const std::int32_t* slots = nullptr;
    std::int64_t tokens = 0;
  };
  void run(const device_weights& weights, const pass& pass, gpu::array<float>& outputs);
  /// What this rank's experts took in the run before the last.
  double seconds_before() const { return seconds_before_; }

 private:
  void plan(const pass& pass);
  void wait(const pass& pass);
  void exchange(const float* from, std::span<const std::int32_t> sent, float* to,
                std::span<const std::int32_t> received);
  void multiply(const device_weights& weights, int layer);

  device_ffn_shape shape_;
  int rank_;
  int ranks_;
  std::size_t capacity_;  // slots of one rank in one run
  cudaStream_t stream_;
  gpu::timer multiply_begins_, multiply_ends_;
  bool multiplied_ = false;
  double seconds_before_ = 0;
  gpu::array<std::int32_t> my_slots_, all_slots_;
  gpu::pinned_array<std::int32_t> host_slots_;
  dispatch_plan plan_;
  // The plan's four lists, one behind the other.
  gpu::pinned_array<std::int32_t> host_lists_;
  gpu::array<std::int32_t> lists_;
  const std::int32_t *sent_token_ = nullptr, *item_of_slot_ = nullptr, *item_at_place_ = nullptr,
                     *place_of_item_ = nullptr;
  gpu::array<float> tokens_;             // [tokens][hidden]
  gpu::array<float> sent_, received_;    // [items][hidden]
  gpu::array<float> x_, gate_, up_, y_;  // by place
  std::unique_ptr<gpu::blas> blas_;
  std::unique_ptr<ffn_link> link_;  // null where there is one rank; the first to go: it ends what
                                    // waits for other ranks, and freeing memory waits for all
};

}  // namespace ballast
