#include "kernels/route.hpp"

namespace ballast {
namespace {

std::uint32_t mix(std::uint32_t x) {
  x ^= x >> 16;
  x *= 0x7feb352du;
  x ^= x >> 15;
  x *= 0x846ca68bu;
  return x ^ (x >> 16);
}

struct replicas {
  const std::int32_t* slot;
  const std::int32_t* share_end;
  std::int32_t count;
};

std::int32_t by_shares(const replicas& r, std::uint32_t salt, std::int64_t token, std::int32_t expert,
                       std::int64_t step) {
  const std::uint32_t start = mix(salt ^ mix(static_cast<std::uint32_t>(expert) * 0xc2b2ae3du + static_cast<std::uint32_t>(step)));
  const std::uint32_t point = start + static_cast<std::uint32_t>(token) * 0x9e3779b9u;
  const auto share = static_cast<std::int32_t>(point >> 16);
  std::int32_t k = 0;
  while (k + 1 < r.count && r.share_end[k] <= share) ++k;
  return r.slot[k];
}

std::int32_t nearest(const replicas& r, const route_origin& o, std::int64_t token, std::int32_t expert) {
  for (std::int32_t k = 0; k < r.count; ++k) {
    if (r.slot[k] / o.rows_per_rank == o.rank) return r.slot[k];
  }
  const std::int32_t node = o.node_of_rank[o.rank];
  std::int32_t near = 0;
  for (std::int32_t k = 0; k < r.count; ++k) near += o.node_of_rank[r.slot[k] / o.rows_per_rank] == node;
  if (near == 0) return by_shares(r, static_cast<std::uint32_t>(o.rank), token, expert, o.step);
  auto nth = static_cast<std::int32_t>((token + o.rank + o.step) % near);
  for (std::int32_t k = 0;; ++k) {
    if (o.node_of_rank[r.slot[k] / o.rows_per_rank] == node && nth-- == 0) return r.slot[k];
  }
}

std::int32_t choose(const replicas& r, const route_origin& o, route_mode mode, std::int64_t token, std::int32_t expert) {
  switch (mode) {
    case route_mode::local: return nearest(r, o, token, expert);
    case route_mode::round_robin: return r.slot[(token + o.rank + expert + o.step) % r.count];
    case route_mode::uniform: {
      const std::uint32_t h = mix(static_cast<std::uint32_t>(token) ^
                                  mix(static_cast<std::uint32_t>(o.rank) ^ mix(static_cast<std::uint32_t>(o.step) + expert)));
      return r.slot[(static_cast<std::uint64_t>(h) * r.count) >> 32];
    }
    case route_mode::rank_invariant: return by_shares(r, 0x5bd1e995u, token, expert, o.step);
    case route_mode::shares: break;
  }
  return by_shares(r, static_cast<std::uint32_t>(o.rank), token, expert, o.step);
}

template <typename Id>
void route(const id_matrix& m, const route_tables& t, const route_origin& o, route_mode mode, Id* out) {
  const auto* ids = static_cast<const Id*>(m.ids);
  const std::int32_t routed = m.columns - m.shared_columns;
  for (std::int64_t token = 0; token < m.tokens; ++token) {
    for (std::int32_t c = 0; c < m.columns; ++c) {
      const std::int64_t i = token * m.columns + c;
      const auto id = static_cast<std::int64_t>(ids[i]);
      if (token >= m.valid_tokens) {
        out[i] = -1;
      } else if (c >= routed) {
        out[i] = ids[i];
      } else if (id < 0 || id >= t.experts) {
        out[i] = -1;
      } else {
        const std::int32_t first = t.replica_first[id];
        const replicas r = {t.replica_slot + first, t.replica_share_end + first, t.replica_first[id + 1] - first};
        if (r.count == 0) {
          out[i] = -1;
        } else {
          out[i] = r.count == 1 ? r.slot[0] : choose(r, o, mode, token, static_cast<std::int32_t>(id));
        }
      }
    }
  }
}

}  // namespace

void route_host(const id_matrix& ids, const route_tables& tables, const route_origin& origin, route_mode mode, void* slots) {
  if (ids.is_int64) {
    route(ids, tables, origin, mode, static_cast<std::int64_t*>(slots));
  } else {
    route(ids, tables, origin, mode, static_cast<std::int32_t*>(slots));
  }
}

}  // namespace ballast
