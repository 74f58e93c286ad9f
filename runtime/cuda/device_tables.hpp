#pragma once
// The routing tables in device memory, at addresses that never change: kernels in captured graphs
// read them there. New ones are copied there on the compute stream, between two passes.

#include <array>
#include <cstdint>
#include <span>

#include "kernels/commit.hpp"
#include "kernels/route.hpp"
#include "runtime/cuda/cuda_handles.hpp"
#include "runtime/live_placement.hpp"

namespace ballast {

class device_tables {
 public:
  /// Takes over the live tables of all layers. Blocks.
  device_tables(const live_placement& live, cudaStream_t compute, double deadline_seconds);

  /// Enqueues the live tables of these layers. The host waits, up to the deadline, only if it is
  /// more than commits_under_way commits ahead of the GPU.
  void publish(std::span<const std::int32_t> layers);
  static constexpr int commits_under_way = 16;

  route_tables tables(int layer) const;
  void describe(int layer, ballast_layer_tables& out) const;

 private:
  struct commit_buffer {
    pinned_buffer<std::int32_t> values;
    pinned_buffer<table_copy> list;
    event read;
  };

  const live_placement& live_;
  cudaStream_t compute_;
  double deadline_seconds_;
  int experts_;
  int slots_;
  std::size_t layer_values_;            // of all tables of a layer
  device_buffer<std::int32_t> values_;  // [layers][expert_of_slot, first, slot, share_end]
  std::array<commit_buffer, commits_under_way> buffers_;
  std::size_t next_ = 0;
};

}  // namespace ballast
