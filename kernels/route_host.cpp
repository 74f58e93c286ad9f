// A pass of many ids first works out, for each expert, all that does not depend on the token: an
// entry of half a cache line. An id then costs one look-up and three comparisons, and no branch
// that depends on it. What an entry cannot say (more than four replicas, modes that do not go by
// shares) and a pass of few ids go by route_rule.hpp, id by id; both follow it to the bit.
#include <algorithm>
#include <array>
#include <type_traits>

#include "kernels/route.hpp"
#include "kernels/route_rule.hpp"

namespace ballast {
namespace {

constexpr std::int32_t entry_replicas = 4;
constexpr std::int32_t entries_max = 1024;
constexpr std::int32_t by_rule = -2;  // as slot 0 of an entry that cannot say it
constexpr std::int32_t share_total = 65536;

struct alignas(32) route_entry {
  std::uint32_t start;
  std::int32_t share_end[entry_replicas - 1];
  std::int32_t slot[entry_replicas];
};

// No replica.
constexpr route_entry no_entry = {0, {share_total, share_total, share_total}, {-1, -1, -1, -1}};

struct route_call {
  const route_tables& tables;
  const route_origin& origin;
  route_mode mode;
};

// Whether the expert's only slot for this rank is known, and which.
bool has_fixed_slot(const route_call& call, const expert_replicas& r, std::int32_t& slot) {
  slot = r.count == 0 ? -1 : r.slot[0];
  if (r.count <= 1) return true;
  if (call.mode != route_mode::local) return false;
  const route_origin& o = call.origin;
  for (std::int32_t k = 0; k < r.count; ++k) {
    slot = r.slot[k];
    if (slot / o.rows_per_rank == o.rank) return true;
  }
  return false;
}

bool goes_by_shares(const route_call& call, const expert_replicas& r) {
  if (call.mode == route_mode::shares || call.mode == route_mode::rank_invariant) return true;
  return call.mode == route_mode::local && route_near_count(r, call.origin) == 0;
}

route_entry entry_of(const route_call& call, std::int32_t expert) {
  const expert_replicas r = route_replicas(call.tables, expert);
  route_entry entry = no_entry;
  if (has_fixed_slot(call, r, entry.slot[0])) return entry;
  if (r.count > entry_replicas || !goes_by_shares(call, r)) {
    entry.slot[0] = by_rule;
    return entry;
  }
  entry.start = route_start(route_salt(call.origin, call.mode), expert, call.origin.step);
  for (std::int32_t k = 0; k < r.count; ++k) entry.slot[k] = r.slot[k];
  for (std::int32_t k = 0; k + 1 < r.count; ++k) entry.share_end[k] = r.share_end[k];
  return entry;
}

std::int32_t slot_by_rule(const route_call& call, std::int64_t token, std::int64_t id) {
  const expert_replicas r = route_replicas(call.tables, id);
  // One replica is what every mode chooses, and known sooner here.
  return r.count == 1
             ? r.slot[0]
             : route_choice(r, call.origin, call.mode, token, static_cast<std::int32_t>(id));
}

// What surrounds the routed ids of a pass: padding rows, and shared columns.
template <typename Id, typename RouteRow>
void route_rows(const id_matrix& m, Id* out, const RouteRow& route_row) {
  const auto* ids = static_cast<const Id*>(m.ids);
  const std::int32_t routed = m.columns - m.shared_columns;
  const std::int64_t rows = std::min(m.tokens, m.valid_tokens);
  for (std::int64_t token = 0; token < rows; ++token) {
    const Id* row = ids + token * m.columns;
    Id* slots = out + token * m.columns;
    route_row(token, row, routed, slots);
    std::copy(row + routed, row + m.columns, slots + routed);
  }
  std::fill(out + rows * m.columns, out + m.tokens * m.columns, Id{-1});
}

template <typename Id>
void route_by_rule(const id_matrix& m, const route_call& call, Id* out) {
  route_rows(m, out, [&](std::int64_t token, const Id* ids, std::int32_t count, Id* slots) {
    for (std::int32_t c = 0; c < count; ++c) slots[c] = slot_by_rule(call, token, ids[c]);
  });
}

template <typename Id>
void route_by_entries(const id_matrix& m, const route_call& call, Id* out) {
  using word = std::make_unsigned_t<Id>;
  const std::int32_t experts = call.tables.experts;
  std::array<route_entry, entries_max + 1> entries;
  for (std::int32_t e = 0; e < experts; ++e) entries[e] = entry_of(call, e);
  entries[experts] = no_entry;  // of ids out of range
  const auto out_of_range = static_cast<word>(experts);
  route_rows(m, out, [&](std::int64_t token, const Id* ids, std::int32_t count, Id* slots) {
    const std::uint32_t ahead = static_cast<std::uint32_t>(token) * route_token_step;
    for (std::int32_t c = 0; c < count; ++c) {
      const Id id = ids[c];
      const route_entry& e = entries[std::min(static_cast<word>(id), out_of_range)];
      const auto share = static_cast<std::int32_t>((e.start + ahead) >> 16);
      const std::int32_t k =
          (e.share_end[0] <= share) + (e.share_end[1] <= share) + (e.share_end[2] <= share);
      slots[c] = e.slot[k] != by_rule ? e.slot[k] : slot_by_rule(call, token, id);
    }
  });
}

template <typename Id>
void route(const id_matrix& m, const route_call& call, Id* out) {
  const bool by_shares = call.mode != route_mode::round_robin && call.mode != route_mode::uniform;
  const std::int64_t ids = std::min(m.tokens, m.valid_tokens) * (m.columns - m.shared_columns);
  if (by_shares && call.tables.experts <= entries_max && ids >= 2 * call.tables.experts) {
    route_by_entries(m, call, out);
  } else {
    route_by_rule(m, call, out);
  }
}

}  // namespace

void route_host(const id_matrix& ids, const route_tables& tables, const route_origin& origin,
                route_mode mode, void* slots) {
  const route_call call = {tables, origin, mode};
  if (ids.is_int64) {
    route(ids, call, static_cast<std::int64_t*>(slots));
  } else {
    route(ids, call, static_cast<std::int32_t*>(slots));
  }
}

}  // namespace ballast
