#pragma once
// Times of repeated runs and their order statistics.

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <numeric>
#include <vector>

namespace ballast {

/// Seconds that `work` takes.
template <typename Work>
double seconds_of(Work&& work) {
  const auto start = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

/// Measured values, in no order. All statistics are 0 where there is no value.
class samples {
 public:
  void add(double value) { values_.push_back(value); }
  void reserve(std::size_t count) { values_.reserve(count); }
  std::size_t size() const { return values_.size(); }
  double min() const { return quantile(0); }
  double median() const { return quantile(0.5); }
  double max() const { return quantile(1); }
  double mean() const {
    return values_.empty() ? 0
                           : std::accumulate(values_.begin(), values_.end(), 0.0) /
                                 static_cast<double>(values_.size());
  }

  /// The value below which this part (0..1) of the others lies.
  double quantile(double part) const {
    if (values_.empty()) return 0;
    std::vector<double> sorted = values_;
    const auto index =
        static_cast<std::size_t>(part * static_cast<double>(sorted.size() - 1) + 0.5);
    std::nth_element(sorted.begin(), sorted.begin() + static_cast<std::ptrdiff_t>(index),
                     sorted.end());
    return sorted[index];
  }

 private:
  std::vector<double> values_;
};

}  // namespace ballast
