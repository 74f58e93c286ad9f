#pragma once
// The window of loads on a GPU. Kernels, captured in graphs or not, add to counters that are never
// reset; the loads of a window are what the counters have gained between two snapshots. So an
// ordinary step has nothing to do here, and a graph needs not know whether the window listens.

#include <cstdint>
#include <vector>

#include "kernels/record.hpp"
#include "runtime/cuda/cuda_handles.hpp"

namespace ballast {

class device_window {
 public:
  /// `interval` and `window` as in load_window, `compute` is the caller's stream.
  device_window(int layers, int experts, std::int64_t interval, std::int64_t window,
                cudaStream_t compute);

  bool listens_at(std::int64_t step) const {
    return listen_steps_ == interval_ || interval_ - step % interval_ <= listen_steps_;
  }

  /// Counters of a layer, for record_device.
  device_counts counts_of(int layer) const;

  /// The passes from here on belong to step `step`: takes a snapshot where a window may begin.
  void begin_step(std::int64_t step);
  /// Takes the snapshot that ends a window.
  void cut();
  /// [layers, experts] of the window cut last; null while the snapshots are on their way.
  const std::int64_t* sums();
  /// Up to the newest snapshot that has arrived.
  std::int64_t ids_out_of_range() const { return outside_; }

 private:
  void keep(const device_buffer<std::int64_t>& from, const device_buffer<std::int64_t>& to);

  std::size_t cells_;
  int experts_;
  std::int64_t interval_;
  std::int64_t listen_steps_;
  cudaStream_t compute_;
  background_stream stream_;
  device_buffer<std::int64_t> counters_;            // [layers, experts], then one: ids out of range
  std::vector<device_buffer<std::int64_t>> bases_;  // a ring: the counters where windows began
  std::int64_t bases_taken_ = 0;
  // Of the window cut last, as it began and as it ended.
  device_buffer<std::int64_t> cut_begin_;
  device_buffer<std::int64_t> cut_end_;
  pinned_buffer<std::int64_t> begin_here_;
  pinned_buffer<std::int64_t> end_here_;
  event cut_;
  event arrived_;
  bool summed_ = true;
  std::vector<std::int64_t> sums_;
  std::int64_t outside_ = 0;
};

}  // namespace ballast
