#pragma once
// A model that computes all the time: iterations of one piece of work, back to back on a stream,
// each timed by events.

#include <cstdint>
#include <functional>
#include <map>
#include <vector>

#include "jobs/bench/samples.hpp"
#include "jobs/cuda/gpu.hpp"

namespace ballast {

class load_loop {
 public:
  /// `work` enqueues one iteration. At most two are on the stream that have not ended: one runs,
  /// the next waits, as a host that is a little ahead of its GPU has it.
  load_loop(cudaStream_t stream, std::function<void(cudaStream_t)> work);

  /// Enqueues as many as fit; does not wait.
  void top_up();
  /// Waits for room and enqueues one.
  void add();
  /// Enqueues this many, waiting for room.
  void run(int iterations);
  /// Waits until all have ended. Without it, time in which the host enqueues nothing counts to the
  /// next iteration: the model waits then.
  void drain();

  /// Iterations that begin and end between two calls count to the part named by the first.
  void enter(int part);
  const samples& ms(int part) { return ms_[part]; }

 private:
  static constexpr int outstanding_max = 2;
  static constexpr int ends_kept = outstanding_max + 2;
  struct iteration {
    std::int64_t number;
    std::int64_t entered;  // how often a part had been entered when it was enqueued
    bool after_pause;      // it has a begin of its own
  };

  void enqueue();
  void reap();
  gpu::timer& end_of(std::int64_t number) { return ends_[number % ends_kept]; }

  cudaStream_t stream_;
  std::function<void(cudaStream_t)> work_;
  std::vector<gpu::timer> ends_;
  gpu::timer begin_;
  std::vector<iteration> outstanding_;  // oldest first
  std::int64_t enqueued_ = 0;
  std::int64_t entered_ = 0;
  int part_ = 0;
  bool paused_ = true;
  std::map<int, samples> ms_;
};

}  // namespace ballast
