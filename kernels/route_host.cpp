#include "kernels/route.hpp"
#include "kernels/route_rule.hpp"

namespace ballast {
namespace {

template <typename Id>
void route(const id_matrix& m, const route_tables& t, const route_origin& o, route_mode mode,
           Id* out) {
  const auto* ids = static_cast<const Id*>(m.ids);
  const std::int32_t routed = m.columns - m.shared_columns;
  for (std::int64_t token = 0; token < m.tokens; ++token) {
    for (std::int32_t c = 0; c < m.columns; ++c) {
      const std::int64_t i = token * m.columns + c;
      if (token >= m.valid_tokens) {
        out[i] = -1;
      } else if (c >= routed) {
        out[i] = ids[i];
      } else {
        const expert_replicas r = route_replicas(t, ids[i]);
        // One replica is what every mode chooses, and known sooner here.
        out[i] = r.count == 1 ? r.slot[0]
                              : route_choice(r, o, mode, token, static_cast<std::int32_t>(ids[i]));
      }
    }
  }
}

}  // namespace

void route_host(const id_matrix& ids, const route_tables& tables, const route_origin& origin,
                route_mode mode, void* slots) {
  if (ids.is_int64) {
    route(ids, tables, origin, mode, static_cast<std::int64_t*>(slots));
  } else {
    route(ids, tables, origin, mode, static_cast<std::int32_t*>(slots));
  }
}

}  // namespace ballast
