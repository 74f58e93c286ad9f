#include "policies/payback.hpp"

#include <algorithm>
#include <limits>
#include <utility>

namespace ballast {

namespace {

__extension__ typedef __int128 wide;

constexpr int mib_shift = 20;

std::int64_t to_ns(wide value) {
  constexpr wide most = std::numeric_limits<std::int64_t>::max();
  return static_cast<std::int64_t>(std::clamp<wide>(value, -most, most));
}

/// Of tokens that the fullest ranks of all layers carry less, over a window, per step.
std::int64_t step_ns(wide scaled_tokens, const payback_terms& terms) {
  const wide per_step = scaled_tokens / std::max<std::int64_t>(terms.window_steps, 1);
  constexpr wide most = wide{1} << 86;  // times token_ps_max, below 2^40, fits
  return to_ns(std::clamp(per_step, -most, most) * terms.token_ps / share_one / ps_per_ns);
}

/// The nearest link over which `rank` can get an expert; local if it cannot get it at all.
link_class nearest(const cluster_map& cluster, const std::vector<std::int32_t>& hosts, int rank) {
  link_class best = hosts.empty() ? link_class::local : link_class::remote;
  const rank_place& there = cluster.ranks[rank];
  for (const std::int32_t host : hosts) {
    const rank_place& here = cluster.ranks[host];
    const link_class link = here.island == there.island ? link_class::island
                            : here.node == there.node   ? link_class::node
                                                        : link_class::remote;
    best = std::min(best, link);
  }
  return best;
}

/// [ranks][link classes] experts that every rank receives.
std::vector<std::array<std::int64_t, link_class_count>> arrivals_by_link(
    const plan_request& request, const plan& made) {
  const placement& current = *request.current;
  const slot_layout& layout = current.layout();
  std::vector<std::array<std::int64_t, link_class_count>> arrivals(
      static_cast<std::size_t>(layout.ranks()));
  std::vector<std::vector<std::int32_t>> hosts(static_cast<std::size_t>(current.experts()));
  for (const std::int32_t layer : made.changed) {
    if (made.layers[layer].moves == 0) continue;
    const auto before = current.experts_of(layer);
    const auto after = made.target.experts_of(layer);
    for (auto& list : hosts) list.clear();
    for (int slot = 0; slot < layout.slots(); ++slot) {
      const int rank = layout.rank_of(slot);
      const bool dead = !request.masked_ranks.empty() && request.masked_ranks[rank] != 0;
      if (before[slot] != no_expert && !dead) hosts[before[slot]].push_back(rank);
    }
    for (int slot = 0; slot < layout.slots(); ++slot) {
      const int rank = layout.rank_of(slot);
      if (after[slot] == no_expert) continue;
      const auto& from = hosts[after[slot]];
      if (std::ranges::find(from, rank) != from.end()) continue;
      ++arrivals[rank][static_cast<std::size_t>(nearest(*request.cluster, from, rank))];
    }
  }
  return arrivals;
}

}  // namespace

payback pay_back(const plan_request& request, const plan& made, const plan& reshared,
                 const payback_terms& terms) {
  wide by_all = 0;
  wide by_moves = 0;
  for (std::size_t layer = 0; layer < made.layers.size(); ++layer) {
    by_all += made.layers[layer].risk_before - made.layers[layer].risk_after;
    by_moves += reshared.layers[layer].risk_after - made.layers[layer].risk_after;
  }
  payback result;
  result.saved_ns = step_ns(by_all, terms);
  result.saved_ns_by_moves = step_ns(by_moves, terms);
  for (const auto& received : arrivals_by_link(request, made)) {
    wide sum = 0;
    for (std::size_t link = 0; link < received.size(); ++link) {
      const std::int64_t ns_per_mib = terms.link_ns_per_mib[link] > 0
                                          ? terms.link_ns_per_mib[link]
                                          : request.cluster->cost_ns_per_mib[link];
      const wide ns =
          static_cast<wide>(received[link]) * request.expert_bytes * ns_per_mib >> mib_shift;
      result.transfer_ns[link] = std::max(result.transfer_ns[link], to_ns(ns));
      sum += ns;
    }
    result.transfer_ns_total = std::max(result.transfer_ns_total, to_ns(sum));
  }
  if (result.transfer_ns_total == 0) return result;
  result.steps = result.saved_ns_by_moves <= 0
                     ? -1
                     : (result.transfer_ns_total - 1) / result.saved_ns_by_moves + 1;
  return result;
}

void judge(const plan_request& request, const payback_terms& terms, plan& made, payback& result) {
  if (terms.token_ps == 0 || made.moves() == 0) {
    result = pay_back(request, made, made, terms);
    return;
  }
  plan_request still = request;
  still.limits.max_moves_per_layer = 0;
  plan reshared = make_plan(still);
  result = pay_back(request, made, reshared, terms);
  if (terms.horizon_steps == 0) return;
  result.refused = result.steps < 0 || result.steps > terms.horizon_steps;
  if (result.refused) made = std::move(reshared);
}

plan make_paying_plan(const plan_request& request, const payback_terms& terms, payback& result) {
  plan made = make_plan(request);
  judge(request, terms, made, result);
  return made;
}

}  // namespace ballast
