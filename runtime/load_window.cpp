#include "runtime/load_window.hpp"

#include <algorithm>

namespace ballast {

load_window::load_window(std::size_t cells, std::int64_t interval, std::int64_t window)
    : cells_(cells),
      interval_(interval),
      listen_steps_(std::min(window, interval)),
      bucket_count_(static_cast<std::size_t>((window + interval - 1) / interval)),
      buckets_(cells * bucket_count_) {}

void load_window::sum(std::span<std::int64_t> sums) const {
  std::copy_n(buckets_.begin(), cells_, sums.begin());
  for (std::size_t b = 1; b < bucket_count_; ++b) {
    const std::int64_t* bucket = buckets_.data() + b * cells_;
    for (std::size_t i = 0; i < cells_; ++i) sums[i] += bucket[i];
  }
}

void load_window::turn() {
  current_ = (current_ + 1) % bucket_count_;
  std::ranges::fill(current(), 0);
}

}  // namespace ballast
