#pragma once
// What a benchmark must reach, told as one `#` line: "bar: ...: met, 97.3 %".

#include <string>

#include "jobs/bench/table.hpp"

namespace ballast {

enum class bar_side { at_least, at_most };

void add_bar(bench_table& table, const std::string& what, bar_side side, double limit, double value,
             const std::string& unit);

}  // namespace ballast
