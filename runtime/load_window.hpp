#pragma once
// The window of recorded loads: counts fall straight into its current bucket, so an ordinary step
// has nothing to fold. A window no longer than the interval is one bucket that listens only during
// the last `window` steps before a trigger; a longer one is a ring with one bucket per interval.

#include <cstdint>
#include <span>
#include <vector>

namespace ballast {

class load_window {
 public:
  /// Allocates ceil(window / interval) buckets of `cells` counts. `window` >= 1, `interval` >= 1.
  load_window(std::size_t cells, std::int64_t interval, std::int64_t window);

  /// Whether the loads of step `step` belong to the window. Step k * interval - 1 is the last
  /// before the k-th trigger.
  bool listens_at(std::int64_t step) const {
    return listen_steps_ == interval_ || interval_ - step % interval_ <= listen_steps_;
  }

  /// Where loads are added: [layers, experts].
  std::span<std::int64_t> current() { return {buckets_.data() + current_ * cells_, cells_}; }

  /// The sum of the window so far into `sums`.
  void sum(std::span<std::int64_t> sums) const;

  /// Ends an interval: the oldest bucket is emptied and becomes the current one.
  void turn();

 private:
  std::size_t cells_;
  std::int64_t interval_;
  std::int64_t listen_steps_;
  std::size_t bucket_count_;
  std::size_t current_ = 0;
  std::vector<std::int64_t> buckets_;
};

}  // namespace ballast
