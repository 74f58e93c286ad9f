#pragma once
// The routing tables in device memory, at addresses that never change: kernels in captured graphs
// read them there. New ones are uploaded beside the passes that are enqueued already, and copied
// there on the compute stream, between two passes: reading them from the host's memory would make
// that gap three times as long.

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
  /// [tables of the commit] table_copy, then their values.
  struct commit_buffer {
    pinned_buffer<std::byte> here;
    device_buffer<std::byte> there;
    event read;  ///< of the compute stream, behind its copies from `there`
  };

  const live_placement& live_;
  cudaStream_t compute_;
  double deadline_seconds_;
  int experts_;
  int slots_;
  std::size_t layer_values_;            // of all tables of a layer
  device_buffer<std::int32_t> values_;  // [layers][expert_of_slot, first, slot, share_end]
  background_stream upload_;
  event uploaded_;
  std::array<commit_buffer, commits_under_way> buffers_;
  std::size_t next_ = 0;
};

}  // namespace ballast
