#include "runtime/cuda/device_window.hpp"

#include <algorithm>

namespace ballast {

// A window begins at most `buckets` intervals before its end; one snapshot more than that, since
// the next window's first is taken while the sums of the last are still awaited.
device_window::device_window(int layers, int experts, std::int64_t interval, std::int64_t window,
                             cudaStream_t compute)
    : cells_(static_cast<std::size_t>(layers) * experts),
      experts_(experts),
      interval_(interval),
      listen_steps_(std::min(window, interval)),
      compute_(compute),
      counters_(cells_ + 1),
      bases_(static_cast<std::size_t>((window + interval - 1) / interval) + 1),
      sums_(cells_) {
  const auto allocate = [&](snapshot& s) {
    s.on_device = device_buffer<std::int64_t>(cells_ + 1);
    s.here = pinned_buffer<std::int64_t>(cells_ + 1);
    std::fill_n(s.here.data(), cells_ + 1, 0);
  };
  for (snapshot& s : bases_) allocate(s);
  allocate(end_);
  begin_step(0);
}

device_counts device_window::counts_of(int layer) const {
  return {experts_, counters_.data() + static_cast<std::size_t>(layer) * experts_,
          counters_.data() + cells_};
}

void device_window::begin_step(std::int64_t step) {
  if (step % interval_ == interval_ - listen_steps_) take(bases_[bases_taken_++ % bases_.size()]);
}

// A copy on the compute stream, so that it holds whole passes; it then travels beside the next
// ones.
void device_window::take(snapshot& into) {
  const std::size_t bytes = (cells_ + 1) * sizeof(std::int64_t);
  BALLAST_CUDA(cudaStreamWaitEvent(compute_, into.arrived.get(), 0));
  BALLAST_CUDA(cudaMemcpyAsync(into.on_device.data(), counters_.data(), bytes,
                               cudaMemcpyDeviceToDevice, compute_));
  into.taken.record(compute_);
  BALLAST_CUDA(cudaStreamWaitEvent(stream_.get(), into.taken.get(), 0));
  BALLAST_CUDA(cudaMemcpyAsync(into.here.data(), into.on_device.data(), bytes,
                               cudaMemcpyDeviceToHost, stream_.get()));
  into.arrived.record(stream_.get());
}

void device_window::cut() {
  take(end_);
  const auto kept = static_cast<std::int64_t>(bases_.size()) - 1;
  base_of_cut_ = std::max<std::int64_t>(bases_taken_ - kept, 0);
  summed_ = false;
}

const std::int64_t* device_window::sums() {
  if (summed_) return sums_.data();
  const snapshot& base = bases_[base_of_cut_ % bases_.size()];
  if (!end_.arrived.passed() || !base.arrived.passed()) return nullptr;
  for (std::size_t i = 0; i < cells_; ++i) sums_[i] = end_.here[i] - base.here[i];
  outside_ = end_.here[cells_];
  summed_ = true;
  return sums_.data();
}

}  // namespace ballast
