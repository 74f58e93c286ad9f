#pragma once
// Counting what the router chose: top-k ids of a layer's tokens into tokens per expert.

#include <cstddef>
#include <cstdint>
#include <span>

#include "kernels/device.hpp"

namespace ballast {

/// [tokens][columns] expert ids, row-major. Rows from valid_tokens on and the trailing
/// shared_columns of every row are not looked at.
struct id_matrix {
  const void* ids = nullptr;
  bool is_int64 = false;  ///< else int32
  std::int32_t columns = 1;
  std::int32_t shared_columns = 0;
  std::int64_t tokens = 0;
  std::int64_t valid_tokens = 0;
};

/// Number of std::uint32_t of scratch that record_host wants for `experts` experts.
constexpr std::size_t record_scratch_size(std::int32_t experts) {
  return 2 * (static_cast<std::size_t>(experts) + 2);
}

/// Adds the number of times each id occurs to counts[experts]. An id of -1 is padding; other ids
/// outside [0, experts) are left out and their number is returned. `scratch`: record_scratch_size
/// values, zero on entry and on return. Reads 4 or 8 bytes per id once, and stores
/// once per id: about an id a cycle where the ids are in a cache, the memory's speed where not.
std::int64_t record_host(const id_matrix& ids, std::span<std::int64_t> counts,
                         std::span<std::uint32_t> scratch);

/// Counters of a layer on the device; they are added to.
struct device_counts {
  std::int32_t experts = 0;         ///< >= 1
  std::int64_t* counts = nullptr;   ///< [experts]
  std::int64_t* outside = nullptr;  ///< one value: ids out of range
};

/// The same on the device, except that ids out of range are added to *outside. Reads 4 or 8 bytes
/// per id once and adds at most experts + 1 numbers per CTA to global memory. Any alignment of the
/// ids' type; aligned to 8 bytes is faster.
device_status record_device(const id_matrix& ids, const device_counts& into,
                            const replay_values& replay, device_stream stream);

}  // namespace ballast
