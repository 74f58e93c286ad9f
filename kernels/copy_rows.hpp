#pragma once
// Copying a list of short rows in one launch, also from the memory of other GPUs: a copy engine
// takes the host longer to start than such a row takes to travel.

#include <cstdint>

#include "kernels/device.hpp"

namespace ballast {

/// Row i: bytes[i] bytes from from[i] to to[i]. Goes to a kernel by value.
struct row_copies {
  static constexpr int most = 96;
  std::int32_t count = 0;
  std::uint32_t bytes[most] = {};
  const void* from[most] = {};
  void* to[most] = {};
};

/// Sources and targets do not overlap.
void copy_rows_host(const row_copies& rows);

/// The same on the device, by at most `ctas` CTAs, at least 1, each with a row at a time. Reads and
/// writes each byte once; rows that are not both aligned to 16 bytes are copied by 4 or by single
/// bytes, slower. The floor of a few rows is the launch, and one trip to the other GPU and back.
device_status copy_rows_device(const row_copies& rows, int ctas, device_stream stream);

}  // namespace ballast
