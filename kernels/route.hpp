#pragma once
// Choosing the replica of every routed token: logical expert ids to physical slots.

#include <cstdint>

#include "kernels/record.hpp"

namespace ballast {

enum class route_mode : std::uint8_t {
  shares = 0,
  local = 1,
  round_robin = 2,
  uniform = 3,
  rank_invariant = 4
};

/// Of one layer. Replicas of expert e: [replica_first[e], replica_first[e + 1]), by slot; share_end
/// is the running sum of shares within the expert, the last one 65536. `slots`: how many entries
/// replica_slot and replica_share_end have, used or not, or 0 where that is not known; with it,
/// kernels keep the tables in shared memory.
struct route_tables {
  std::int32_t experts = 0;
  const std::int32_t* replica_first = nullptr;
  const std::int32_t* replica_slot = nullptr;
  const std::int32_t* replica_share_end = nullptr;
  std::int32_t slots = 0;
};

/// Who asks, and where slots are: slot p lives on rank p / rows_per_rank.
struct route_origin {
  std::int32_t rank = 0;
  std::int32_t rows_per_rank = 1;
  const std::int32_t* node_of_rank = nullptr;  ///< [ranks]
  std::int64_t step = 0;
};

/// Writes the slot of every id, in the ids' type and shape: -1 for padding rows, ids outside [0,
/// experts) and experts without a replica; shared columns are copied. A pure function of (token
/// index, step, expert, tables), and of the rank except with rank_invariant. `shares` draws from
/// the Weyl sequence token * golden ratio, whose points fill [0, 1) evenly, so consecutive tokens
/// of an expert split as the shares say with less scatter than random draws; the start differs per
/// rank, step and expert.
void route_host(const id_matrix& ids, const route_tables& tables, const route_origin& origin,
                route_mode mode, void* slots);

/// The same on the device; tables and node_of_rank are device memory too. `slots` may be `ids.ids`,
/// but not overlap it otherwise.
device_status route_device(const id_matrix& ids, const route_tables& tables,
                           const route_origin& origin, route_mode mode, void* slots,
                           const replay_values& replay, device_stream stream);

/// record_device and route_device reading the ids once. into.experts == tables.experts.
device_status record_route_device(const id_matrix& ids, const device_counts& into,
                                  const route_tables& tables, const route_origin& origin,
                                  route_mode mode, void* slots, const replay_values& replay,
                                  device_stream stream);

}  // namespace ballast
