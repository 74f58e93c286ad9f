#include "runtime/window_report.hpp"

#include <algorithm>

namespace ballast {

window_report::window_report(std::size_t cells, int ranks, int rank)
    : cells_(cells),
      ranks_(static_cast<std::size_t>(ranks)),
      rank_(static_cast<std::size_t>(rank)),
      sums_(cells + ranks_ + 2 * link_class_count) {}

std::span<std::int64_t> window_report::fill(const std::int64_t* loads, std::int64_t pass_ns,
                                            const link_times& links) {
  auto at = std::copy_n(loads, cells_, sums_.begin());
  std::fill_n(at, ranks_, 0);
  at[static_cast<std::ptrdiff_t>(rank_)] = pass_ns;
  at = std::ranges::copy(links.ns, at + static_cast<std::ptrdiff_t>(ranks_)).out;
  std::ranges::copy(links.bytes, at);
  return sums_;
}

void window_report::read(std::vector<std::int64_t>& loads, measured_times& times) const {
  auto at = sums_.begin();
  const auto take = [&at](auto& into) {
    std::copy_n(at, into.size(), into.begin());
    at += static_cast<std::ptrdiff_t>(into.size());
  };
  take(loads);
  take(times.pass_ns);
  take(times.links.ns);
  take(times.links.bytes);
}

}  // namespace ballast
