#pragma once
// A table for people: a row of names, a row of units, rows of cells; columns as wide as they need.

#include <string>
#include <utility>
#include <vector>

namespace ballast {

class text_table {
 public:
  struct column {
    std::string name;
    std::string unit;   ///< "" if it has none
    bool left = false;  ///< aligned left; numbers are aligned right
  };

  explicit text_table(std::vector<column> columns) : columns_(std::move(columns)) {}

  /// As many cells as columns.
  void add(std::vector<std::string> cells) { rows_.push_back(std::move(cells)); }
  /// Lines end in a newline and in no space.
  std::string text() const;

 private:
  std::vector<column> columns_;
  std::vector<std::vector<std::string>> rows_;
};

}  // namespace ballast
