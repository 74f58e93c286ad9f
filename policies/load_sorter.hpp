#pragma once
// Loads in descending order, fast for the few hundred experts of a layer.

#include <cstdint>
#include <span>
#include <vector>

namespace ballast {

/// Sorts one layer after another and keeps its scratch memory between them.
class load_sorter {
 public:
  /// The indices of the loads, none negative, by load descending, then index ascending; valid until
  /// the next call.
  std::span<const std::int32_t> sort(std::span<const std::int64_t> loads);

 private:
  void sort_by_keys(std::span<const std::int64_t> loads, std::int64_t least);
  bool mend(std::span<const std::int64_t> loads);

  std::vector<std::uint64_t> entries_;  // key << 32 | index
  std::vector<std::uint64_t> scratch_;
  std::vector<std::int32_t> order_;
};

}  // namespace ballast
