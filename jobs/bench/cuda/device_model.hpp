#pragma once
// The model whose experts move in every epoch (moving_model.hpp), on GPUs.

#include <cstdint>
#include <vector>

#include "jobs/bench/moving_model.hpp"
#include "jobs/bench/table.hpp"
#include "jobs/cuda/gpu.hpp"

namespace ballast {

/// Three matrices and three rows of scales whose sum is `bytes` or a few less; a matrix is 4096
/// times its scales, as with blocks of 128 x 128 and 4 bytes per block.
std::vector<std::size_t> split_quantised(std::int64_t bytes);

/// One `#` line for the GPU of every rank. Collective.
void add_gpus(const mpi_session& mpi, const gpu::place& here, bench_table& table);

class device_model {
 public:
  /// Steps from one epoch's trigger to the next: more than any epoch of the benches takes.
  static constexpr std::int64_t interval = 1 << 15;

  /// Collective. `config`: what differs from the defaults; shape, policy, interval, backend and
  /// stream are set here. Allocates with ballast_alloc, fills the rows and starts.
  device_model(const mpi_session& mpi, const moving_model_shape& shape, ballast_config config,
               const gpu::stream& compute);

  ballast_context* context() const { return context_.get(); }
  std::int32_t layers() const { return shape_.layers; }
  std::int64_t expert_bytes() const { return shape_.expert_bytes; }
  /// Of the slowest rank, for ballast_register_layer of all layers and ballast_start.
  double start_seconds() const { return start_seconds_; }

  /// Local. Makes the other half of the experts hot in the window being recorded.
  void record_other_half();
  /// Collective. Steps until the `left`-th step from then on is the one that triggers an epoch.
  void approach_trigger(std::int64_t left);
  /// Collective.
  ballast_step_result step();

  /// Local, blocking. Words of 8 bytes of this rank's live rows that are not what their expert
  /// holds.
  std::int64_t wrong_words() const;

 private:
  std::byte* address(int layer, std::size_t tensor, std::int32_t row) const;
  void fill();

  const mpi_session& mpi_;
  replay_shape shape_;
  cudaStream_t compute_;
  context_handle context_;
  std::vector<std::size_t> stride_;  // [tensors]
  std::vector<std::size_t> offset_;  // [tensors] in a layer's memory
  std::vector<std::byte*> layers_;   // [layers] the context's
  gpu::array<std::int64_t> loads_;   // [2 halves][experts]
  int windows_ = 0;
  std::int64_t steps_ = 0;
  double start_seconds_ = 0;
};

}  // namespace ballast
