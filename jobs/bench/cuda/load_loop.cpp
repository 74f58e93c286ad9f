#include "jobs/bench/cuda/load_loop.hpp"

#include <utility>

namespace ballast {

load_loop::load_loop(cudaStream_t stream, std::function<void(cudaStream_t)> work)
    : stream_(stream), work_(std::move(work)), ends_(ends_kept) {}

void load_loop::top_up() {
  reap();
  while (outstanding_.size() < outstanding_max) enqueue();
}

void load_loop::add() {
  reap();
  if (outstanding_.size() == outstanding_max) {
    end_of(outstanding_.front().number).wait();
    reap();
  }
  enqueue();
}

void load_loop::run(int iterations) {
  for (int i = 0; i < iterations; ++i) add();
}

void load_loop::drain() {
  while (!outstanding_.empty()) {
    end_of(outstanding_.front().number).wait();
    reap();
  }
  paused_ = true;
}

void load_loop::enter(int part) {
  reap();
  part_ = part;
  ++entered_;
}

void load_loop::enqueue() {
  if (paused_) begin_.record(stream_);
  work_(stream_);
  outstanding_.push_back({enqueued_, entered_, std::exchange(paused_, false)});
  end_of(enqueued_++).record(stream_);
}

// An iteration lasts from the end of the one before, so what delays its begin counts to it.
void load_loop::reap() {
  while (!outstanding_.empty() && end_of(outstanding_.front().number).passed()) {
    const iteration done = outstanding_.front();
    outstanding_.erase(outstanding_.begin());
    if (done.entered != entered_) continue;
    const gpu::timer& begin = done.after_pause ? begin_ : end_of(done.number - 1);
    ms_[part_].add(1e3 * end_of(done.number).seconds_since(begin));
  }
}

}  // namespace ballast
