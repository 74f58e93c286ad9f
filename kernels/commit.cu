// commit: new tables to their fixed addresses, one CTA a table, 4 bytes an access: tables start
// anywhere.
//
// Bytes: 8 a value. Floor: a launch plus two accesses one after the other, the list's and the
// table's; a layer's tables are about 1 KiB each, so a CTA for each has all of it under way at
// once. Order: kernels of the stream before it see the old tables, those behind it the new ones,
// whole. Measured on an H100 80GB, 2026-11-22: 1.31 us for all tables of 58 layers of 256 experts
// in 288 slots.
#include "kernels/commit.hpp"
#include "kernels/launch.cuh"

namespace ballast {
namespace {

constexpr int threads = 256;

__global__ void __launch_bounds__(threads) commit_tables(const table_copy* tables) {
  wait_for_previous();
  const table_copy table = tables[blockIdx.x];
  for (std::int64_t i = threadIdx.x; i < table.size; i += threads) table.to[i] = table.from[i];
}

}  // namespace

device_status commit_tables_device(const table_copy* tables, std::int32_t count,
                                   device_stream stream) {
  if (count <= 0) return 0;
  return launch(commit_tables, count, threads, 0, stream, tables);
}

}  // namespace ballast
