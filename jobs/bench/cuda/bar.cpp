#include "jobs/bench/cuda/bar.hpp"

#include <fmt/format.h>

namespace ballast {

void add_bar(bench_table& table, const std::string& what, bar_side side, double limit, double value,
             const std::string& unit) {
  const bool met = side == bar_side::at_least ? value >= limit : value <= limit;
  table.note(fmt::format("bar: {}, {} {:g} {}: {}, {:.2f} {}", what,
                         side == bar_side::at_least ? "at least" : "at most", limit, unit,
                         met ? "met" : "not met", value, unit));
}

}  // namespace ballast
