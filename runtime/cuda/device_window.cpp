#include "runtime/cuda/device_window.hpp"

#include <algorithm>

namespace ballast {

device_window::device_window(int layers, int experts, std::int64_t interval, std::int64_t window,
                             cudaStream_t compute)
    : cells_(static_cast<std::size_t>(layers) * experts),
      experts_(experts),
      interval_(interval),
      listen_steps_(std::min(window, interval)),
      compute_(compute),
      counters_(cells_ + 1),
      cut_begin_(cells_ + 1),
      cut_end_(cells_ + 1),
      begin_here_(cells_ + 1),
      end_here_(cells_ + 1),
      sums_(cells_) {
  for (std::int64_t i = 0; i < (window + interval - 1) / interval; ++i)
    bases_.emplace_back(cells_ + 1);
  begin_step(0);
}

device_counts device_window::counts_of(int layer) const {
  return {experts_, counters_.data() + static_cast<std::size_t>(layer) * experts_,
          counters_.data() + cells_};
}

void device_window::begin_step(std::int64_t step) {
  if (step % interval_ == interval_ - listen_steps_)
    keep(counters_, bases_[bases_taken_++ % bases_.size()]);
}

// On the compute stream, so that what is kept holds whole passes.
void device_window::keep(const device_buffer<std::int64_t>& from,
                         const device_buffer<std::int64_t>& to) {
  BALLAST_CUDA(cudaMemcpyAsync(to.data(), from.data(), (cells_ + 1) * sizeof(std::int64_t),
                               cudaMemcpyDeviceToDevice, compute_));
}

// The copies to the host travel beside the next passes, from buffers that only the next cut writes.
void device_window::cut() {
  const auto kept = static_cast<std::int64_t>(bases_.size());
  BALLAST_CUDA(cudaStreamWaitEvent(compute_, arrived_.get(), 0));
  keep(bases_[std::max<std::int64_t>(bases_taken_ - kept, 0) % kept], cut_begin_);
  keep(counters_, cut_end_);
  cut_.record(compute_);
  BALLAST_CUDA(cudaStreamWaitEvent(stream_.get(), cut_.get(), 0));
  const std::size_t bytes = (cells_ + 1) * sizeof(std::int64_t);
  BALLAST_CUDA(cudaMemcpyAsync(begin_here_.data(), cut_begin_.data(), bytes, cudaMemcpyDeviceToHost,
                               stream_.get()));
  BALLAST_CUDA(cudaMemcpyAsync(end_here_.data(), cut_end_.data(), bytes, cudaMemcpyDeviceToHost,
                               stream_.get()));
  arrived_.record(stream_.get());
  summed_ = false;
}

const std::int64_t* device_window::sums() {
  if (summed_) return sums_.data();
  if (!arrived_.passed()) return nullptr;
  for (std::size_t i = 0; i < cells_; ++i) sums_[i] = end_here_[i] - begin_here_[i];
  outside_ = end_here_[cells_];
  summed_ = true;
  return sums_.data();
}

}  // namespace ballast
