#pragma once
// A 64-bit digest of integers, the same on every machine: what ranks compare before they act on a
// plan.

#include <cstdint>
#include <span>
#include <string_view>

namespace ballast {

/// Absorbs integers in order. Every absorb of a span absorbs its length first, so that two
/// different sequences of calls do not meet. Not cryptographic: it guards against accidents, not
/// against forgers.
class digest_builder {
 public:
  void absorb(std::uint64_t value);
  void absorb(std::span<const std::int32_t> values);
  void absorb(std::span<const std::int64_t> values);
  void absorb(std::string_view text);
  std::uint64_t value() const;

 private:
  std::uint64_t state_ = 0x9e3779b97f4a7c15ull;
  std::uint64_t count_ = 0;
};

}  // namespace ballast
