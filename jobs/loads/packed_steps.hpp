#pragma once
// The counts of many steps in as few bytes as their values need: a step takes 1, 2, 4 or 8 bytes a
// count, after its largest. Memory grows in blocks, so that appending never copies what is there.

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace ballast {

class packed_steps {
 public:
  std::int64_t size() const { return static_cast<std::int64_t>(places_.size()); }

  /// Counts must be >= 0; every step must have the same number of them, less than 2^29.
  void append(std::span<const std::int64_t> counts);

  /// `step` in [0, size), `out` as large as what was appended.
  void read(std::int64_t step, std::span<std::int64_t> out) const;

 private:
  struct place {
    std::uint32_t block = 0;
    std::uint32_t offset = 0;
    std::uint8_t width = 1;
  };

  std::vector<std::vector<std::byte>> blocks_;
  std::vector<place> places_;
};

}  // namespace ballast
