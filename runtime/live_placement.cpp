#include "runtime/live_placement.hpp"

#include <algorithm>

#include "policies/schedule.hpp"

namespace ballast {

live_placement::live_placement(placement initial) : current_(std::move(initial)) {
  const std::size_t layers = current_.layers();
  replica_count_.resize(layers * current_.experts());
  replica_first_.resize(layers * (current_.experts() + 1));
  replica_slot_.resize(layers * current_.slots());
  replica_share_end_.resize(layers * current_.slots());
  scratch_.resize(current_.experts());
  const placement target = current_;
  for (int layer = 0; layer < current_.layers(); ++layer) {
    for (const std::int32_t expert : current_.experts_of(layer)) {
      if (expert != no_expert)
        ++replica_count_[static_cast<std::size_t>(layer) * current_.experts() + expert];
    }
    for (int e = 0; e < current_.experts(); ++e) experts_lost_ += replicas(layer, e) == 0;
    refresh(layer, target, false);
  }
}

void live_placement::set_expert(int layer, int slot, int expert) {
  const std::size_t base = static_cast<std::size_t>(layer) * current_.experts();
  std::int32_t& held = current_.experts_of(layer)[slot];
  if (held != no_expert) experts_lost_ += --replica_count_[base + held] == 0;
  if (expert != no_expert) experts_lost_ -= replica_count_[base + expert]++ == 0;
  held = expert;
}

void live_placement::refresh(int layer, const placement& target, bool committed) {
  const std::span<const std::int32_t> held = current_.experts_of(layer);
  const std::span<std::int32_t> shares = current_.shares_of(layer);
  const std::span<const std::int32_t> counts =
      std::span(replica_count_)
          .subspan(static_cast<std::size_t>(layer) * current_.experts(), current_.experts());
  live_shares(held, target.experts_of(layer), target.shares_of(layer), counts, scratch_, shares);

  std::int32_t* first =
      replica_first_.data() + static_cast<std::size_t>(layer) * (current_.experts() + 1);
  std::int32_t* slot_of = replica_slot_.data() + static_cast<std::size_t>(layer) * current_.slots();
  std::int32_t* share_end =
      replica_share_end_.data() + static_cast<std::size_t>(layer) * current_.slots();
  first[0] = 0;
  for (int e = 0; e < current_.experts(); ++e) first[e + 1] = first[e] + counts[e];
  // Counting sort by expert: fill each expert's range from its front, then step the fronts back.
  for (int slot = 0; slot < current_.slots(); ++slot) {
    if (held[slot] != no_expert) slot_of[first[held[slot]]++] = slot;
  }
  for (int e = current_.experts(); e > 0; --e) first[e] = first[e - 1];
  first[0] = 0;
  for (int e = 0; e < current_.experts(); ++e) {
    std::int32_t end = 0;
    for (std::int32_t k = first[e]; k < first[e + 1]; ++k) share_end[k] = end += shares[slot_of[k]];
  }
  if (committed) current_.bump_version(layer);
}

route_tables live_placement::tables(int layer) const {
  return {current_.experts(),
          replica_first_.data() + static_cast<std::size_t>(layer) * (current_.experts() + 1),
          replica_slot_.data() + static_cast<std::size_t>(layer) * current_.slots(),
          replica_share_end_.data() + static_cast<std::size_t>(layer) * current_.slots()};
}

void live_placement::describe(int layer, ballast_layer_tables& out) const {
  const route_tables t = tables(layer);
  out.expert_of_slot = current_.experts_of(layer).data();
  out.replica_first = t.replica_first;
  out.replica_slot = t.replica_slot;
  out.replica_share_end = t.replica_share_end;
  out.version = current_.version(layer);
}

}  // namespace ballast
