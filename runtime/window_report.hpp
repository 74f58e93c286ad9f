#pragma once
// What the ranks sum up when a window ends, in one all-reduce in place: the loads, and behind them
// what each rank has measured.

#include <cstdint>
#include <span>
#include <vector>

#include "policies/measured.hpp"

namespace ballast {

class window_report {
 public:
  /// `cells`: layers * experts.
  window_report(std::size_t cells, int ranks, int rank);

  /// This rank's part, and what is to be summed up over the ranks. `loads`: [cells].
  std::span<std::int64_t> fill(const std::int64_t* loads, std::int64_t pass_ns,
                               const link_times& links);

  /// Of the sums. Does not allocate: `loads` has room for the cells, `times` for the ranks.
  void read(std::vector<std::int64_t>& loads, measured_times& times) const;

 private:
  std::size_t cells_;
  std::size_t ranks_;
  std::size_t rank_;
  std::vector<std::int64_t> sums_;  // [cells] loads, [ranks] times, [links] time, [links] bytes
};

}  // namespace ballast
