#pragma once
// Committing new tables: kernels and captured graphs read tables at fixed addresses, so new ones
// are copied there, between two passes in stream order.

#include <cstdint>
#include <span>

#include "kernels/device.hpp"

namespace ballast {

struct table_copy {
  const std::int32_t* from = nullptr;
  std::int32_t* to = nullptr;
  std::int64_t size = 0;  ///< values
};

/// Copies all tables. No table is both read and written.
void commit_tables_host(std::span<const table_copy> tables);

/// The same in one kernel; the list `tables` [count] and each `from` are device-readable, each `to`
/// is device memory. From pinned host memory it takes 3 to 4 times as long.
device_status commit_tables_device(const table_copy* tables, std::int32_t count,
                                   device_stream stream);

}  // namespace ballast
