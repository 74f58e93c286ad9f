#include "jobs/loads/packed_steps.hpp"

#include <algorithm>
#include <cstring>

namespace ballast {

namespace {

constexpr std::size_t block_bytes = std::size_t{1} << 20;

template <typename Narrow>
void pack(std::span<const std::int64_t> counts, std::byte* to) {
  for (const std::int64_t count : counts) {
    const auto narrow = static_cast<Narrow>(count);
    std::memcpy(to, &narrow, sizeof narrow);
    to += sizeof narrow;
  }
}

template <typename Narrow>
void unpack(const std::byte* from, std::span<std::int64_t> counts) {
  for (std::int64_t& count : counts) {
    Narrow narrow;
    std::memcpy(&narrow, from, sizeof narrow);
    count = static_cast<std::int64_t>(narrow);
    from += sizeof narrow;
  }
}

std::uint8_t width_of(std::int64_t largest) {
  if (largest <= 0xff) return 1;
  if (largest <= 0xffff) return 2;
  return largest <= 0xffffffff ? 4 : 8;
}

}  // namespace

void packed_steps::append(std::span<const std::int64_t> counts) {
  const std::uint8_t width =
      width_of(counts.empty() ? 0 : *std::max_element(counts.begin(), counts.end()));
  const std::size_t bytes = counts.size() * width;
  if (blocks_.empty() || blocks_.back().capacity() - blocks_.back().size() < bytes) {
    blocks_.emplace_back().reserve(std::max(block_bytes, bytes));
  }
  std::vector<std::byte>& block = blocks_.back();
  const std::size_t offset = block.size();
  block.resize(offset + bytes);
  switch (width) {
    case 1:
      pack<std::uint8_t>(counts, block.data() + offset);
      break;
    case 2:
      pack<std::uint16_t>(counts, block.data() + offset);
      break;
    case 4:
      pack<std::uint32_t>(counts, block.data() + offset);
      break;
    default:
      pack<std::int64_t>(counts, block.data() + offset);
      break;
  }
  places_.push_back(
      {static_cast<std::uint32_t>(blocks_.size() - 1), static_cast<std::uint32_t>(offset), width});
}

void packed_steps::read(std::int64_t step, std::span<std::int64_t> out) const {
  const place& at = places_[static_cast<std::size_t>(step)];
  const std::byte* from = blocks_[at.block].data() + at.offset;
  switch (at.width) {
    case 1:
      unpack<std::uint8_t>(from, out);
      break;
    case 2:
      unpack<std::uint16_t>(from, out);
      break;
    case 4:
      unpack<std::uint32_t>(from, out);
      break;
    default:
      unpack<std::int64_t>(from, out);
      break;
  }
}

}  // namespace ballast
