#include "jobs/plan/text_table.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace ballast {

std::string text_table::text() const {
  std::vector<std::string> names;
  std::vector<std::string> units;
  for (const column& c : columns_) {
    names.push_back(c.name);
    units.push_back(c.unit);
  }
  std::vector<std::vector<std::string>> lines = {names};
  if (std::ranges::any_of(units, [](const std::string& unit) { return !unit.empty(); }))
    lines.push_back(units);
  lines.insert(lines.end(), rows_.begin(), rows_.end());

  std::vector<std::size_t> widths(columns_.size(), 0);
  for (const auto& line : lines) {
    for (std::size_t i = 0; i < line.size(); ++i) widths[i] = std::max(widths[i], line[i].size());
  }
  std::string text;
  for (const auto& line : lines) {
    std::string padded;
    for (std::size_t i = 0; i < line.size(); ++i) {
      if (i > 0) padded += "  ";
      padded += columns_[i].left ? fmt::format("{:<{}}", line[i], widths[i])
                                 : fmt::format("{:>{}}", line[i], widths[i]);
    }
    padded.erase(padded.find_last_not_of(' ') + 1);
    text += padded + "\n";
  }
  return text;
}

}  // namespace ballast
