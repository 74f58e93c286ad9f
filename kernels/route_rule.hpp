#pragma once
// Which replica an id goes to, for route_host.cpp and record_route.cu: the modes of
// kernels/route.hpp, one id at a time.

#include <cstdint>

#include "kernels/host_device.hpp"
#include "kernels/route.hpp"

namespace ballast {

/// Of one expert, by slot.
struct expert_replicas {
  const std::int32_t* slot;
  const std::int32_t* share_end;
  std::int32_t count;
};

BALLAST_HOST_DEVICE inline std::uint32_t route_mix(std::uint32_t x) {
  x ^= x >> 16;
  x *= 0x7feb352du;
  x ^= x >> 15;
  x *= 0x846ca68bu;
  return x ^ (x >> 16);
}

/// Where an expert's tokens start in the Weyl sequence.
BALLAST_HOST_DEVICE inline std::uint32_t route_start(std::uint32_t salt, std::int32_t expert,
                                                     std::int64_t step) {
  return route_mix(salt ^ route_mix(static_cast<std::uint32_t>(expert) * 0xc2b2ae3du +
                                    static_cast<std::uint32_t>(step)));
}

/// From one token to the next in it: 2^32 over the golden ratio.
constexpr std::uint32_t route_token_step = 0x9e3779b9u;

/// What sets ranks apart, where they shall be.
BALLAST_HOST_DEVICE inline std::uint32_t route_salt(const route_origin& o, route_mode mode) {
  return mode == route_mode::rank_invariant ? 0x5bd1e995u : static_cast<std::uint32_t>(o.rank);
}

BALLAST_HOST_DEVICE inline std::int32_t route_by_shares(const expert_replicas& r,
                                                        std::uint32_t salt, std::int64_t token,
                                                        std::int32_t expert, std::int64_t step) {
  const std::uint32_t point =
      route_start(salt, expert, step) + static_cast<std::uint32_t>(token) * route_token_step;
  const auto share = static_cast<std::int32_t>(point >> 16);
  std::int32_t k = 0;
  while (k + 1 < r.count && r.share_end[k] <= share) ++k;
  return r.slot[k];
}

/// Replicas on the node of the rank.
BALLAST_HOST_DEVICE inline std::int32_t route_near_count(const expert_replicas& r,
                                                         const route_origin& o) {
  const std::int32_t node = o.node_of_rank[o.rank];
  std::int32_t near = 0;
  for (std::int32_t k = 0; k < r.count; ++k)
    near += o.node_of_rank[r.slot[k] / o.rows_per_rank] == node;
  return near;
}

BALLAST_HOST_DEVICE inline std::int32_t route_nearest(const expert_replicas& r,
                                                      const route_origin& o, std::int64_t token,
                                                      std::int32_t expert) {
  if (r.count == 1) return r.slot[0];
  for (std::int32_t k = 0; k < r.count; ++k) {
    const std::int32_t row = r.slot[k] - o.rank * o.rows_per_rank;
    if (row >= 0 && row < o.rows_per_rank) return r.slot[k];
  }
  const std::int32_t node = o.node_of_rank[o.rank];
  const std::int32_t near = route_near_count(r, o);
  if (near == 0) return route_by_shares(r, route_salt(o, route_mode::local), token, expert, o.step);
  auto nth = static_cast<std::int32_t>((token + o.rank + o.step) % near);
  for (std::int32_t k = 0;; ++k) {
    if (o.node_of_rank[r.slot[k] / o.rows_per_rank] == node && nth-- == 0) return r.slot[k];
  }
}

/// The slot of a counted id, or -1 where it has no replica.
BALLAST_HOST_DEVICE inline std::int32_t route_choice(const expert_replicas& r,
                                                     const route_origin& o, route_mode mode,
                                                     std::int64_t token, std::int32_t expert) {
  if (r.count == 0) return -1;
  switch (mode) {
    case route_mode::local:
      return route_nearest(r, o, token, expert);
    case route_mode::round_robin:
      return r.slot[(token + o.rank + expert + o.step) % r.count];
    case route_mode::uniform: {
      const std::uint32_t h =
          route_mix(static_cast<std::uint32_t>(token) ^
                    route_mix(static_cast<std::uint32_t>(o.rank) ^
                              route_mix(static_cast<std::uint32_t>(o.step) + expert)));
      return r.slot[(static_cast<std::uint64_t>(h) * r.count) >> 32];
    }
    case route_mode::rank_invariant:
    case route_mode::shares:
      break;
  }
  return route_by_shares(r, route_salt(o, mode), token, expert, o.step);
}

/// The replicas of a counted id; none where it is out of range.
BALLAST_HOST_DEVICE inline expert_replicas route_replicas(const route_tables& t, std::int64_t id) {
  const bool known = static_cast<std::uint64_t>(id) < static_cast<std::uint64_t>(t.experts);
  const std::int32_t first = known ? t.replica_first[id] : 0;
  const std::int32_t end = known ? t.replica_first[id + 1] : 0;
  return {t.replica_slot + first, t.replica_share_end + first, end - first};
}

}  // namespace ballast
