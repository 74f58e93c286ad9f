#include "policies/activations.hpp"

#include <algorithm>
#include <numeric>

#include "policies/limits.hpp"
#include "policies/repair.hpp"

namespace ballast {

namespace {

__extension__ typedef unsigned __int128 uint128;

// Each round lightens the fullest ranks; it takes far fewer than this.
constexpr std::size_t rounds_per_expert = 4;
constexpr int fraction_bits = 62;
constexpr std::uint64_t fraction_one = std::uint64_t{1} << fraction_bits;

std::uint64_t multiply(std::uint64_t a, std::uint64_t b) {
  return static_cast<std::uint64_t>(static_cast<uint128>(a) * b >> fraction_bits);
}

/// What is read now: every replica with a share.
std::int64_t fullest_read(std::span<const std::int64_t> activations, const slot_layout& layout,
                          std::span<const std::int32_t> experts,
                          std::span<const std::int32_t> shares) {
  std::int64_t fullest = 0;
  for (int rank = 0; rank < layout.ranks(); ++rank) {
    std::int64_t sum = 0;
    for (int slot = layout.first(rank); slot < layout.first(rank + 1); ++slot) {
      if (experts[slot] != no_expert && shares[slot] > 0) sum += activations[experts[slot]];
    }
    fullest = std::max(fullest, sum);
  }
  return fullest;
}

}  // namespace

std::int64_t expected_activations(std::int64_t load, std::int64_t passes) {
  if (load == 0) return 0;
  const auto count = static_cast<std::uint64_t>(passes);
  std::uint64_t base =
      static_cast<std::uint64_t>(static_cast<uint128>(fraction_one) * (count - 1) / count);
  std::uint64_t idle = fraction_one;  // the part of the passes without a token
  for (std::int64_t power = load; power > 0; power >>= 1) {
    if ((power & 1) != 0) idle = multiply(idle, base);
    base = multiply(base, base);
  }
  const auto active = static_cast<uint128>(fraction_one - idle) * count + fraction_one / 2;
  return std::max<std::int64_t>(static_cast<std::int64_t>(active >> fraction_bits), 1);
}

std::vector<std::int64_t> activations_of(const plan_request& request) {
  std::vector<std::int64_t> activations(request.loads.begin(), request.loads.end());
  if (request.passes > 0) {
    for (auto& value : activations) value = expected_activations(value, request.passes);
  }
  return activations;
}

std::int64_t whole_server::serve(std::span<const std::int64_t> activations,
                                 const slot_layout& layout,
                                 std::span<const std::int32_t> expert_of_slot,
                                 std::span<std::int32_t> share_of_slot) {
  activations_ = activations;
  layout_ = &layout;
  expert_of_slot_ = expert_of_slot;
  replicas_ = list_replicas(expert_of_slot, static_cast<int>(activations.size()));
  load_.assign(static_cast<std::size_t>(layout.ranks()), 0);
  serving_.assign(activations.size(), -1);
  order_.clear();
  for (std::size_t e = 0; e < activations.size(); ++e) {
    const std::int32_t first = replicas_.first_replica[e];
    if (replicas_.first_replica[e + 1] - first > 1) {
      order_.push_back(static_cast<std::int32_t>(e));
      continue;
    }
    serving_[e] = replicas_.slot_of_replica[first];
    load_[layout.rank_of(serving_[e])] += activations[e];
  }
  std::stable_sort(order_.begin(), order_.end(),
                   [&](std::int32_t a, std::int32_t b) { return activations[a] > activations[b]; });
  for (const std::int32_t expert : order_) {
    std::int32_t best = -1;
    for (int i = replicas_.first_replica[expert]; i < replicas_.first_replica[expert + 1]; ++i) {
      const std::int32_t slot = replicas_.slot_of_replica[i];
      if (best < 0 || load_[layout.rank_of(slot)] < load_[layout.rank_of(best)]) best = slot;
    }
    serving_[expert] = best;
    load_[layout.rank_of(best)] += activations[expert];
  }
  for (std::size_t round = 0; round < rounds_per_expert * order_.size(); ++round) {
    if (!relieve(std::ranges::max(load_))) break;
  }
  std::ranges::fill(share_of_slot, 0);
  for (const std::int32_t slot : serving_) share_of_slot[slot] = share_one;
  return std::ranges::max(load_);
}

/// Every rank as full as the fullest has to give way, or nothing is gained. Each change takes load
/// from a fullest rank and leaves those it touches below it, so this ends.
bool whole_server::relieve(std::int64_t fullest) {
  bool all = true;
  for (int rank = 0; rank < layout_->ranks(); ++rank) {
    if (load_[rank] == fullest && fullest > 0) all = relieve_rank(rank) && all;
  }
  return all && std::ranges::max(load_) < fullest;
}

bool whole_server::relieve_rank(int rank) {
  const std::int64_t fullest = load_[rank];
  change best;
  std::int64_t best_load = fullest;
  for (int slot = layout_->first(rank); slot < layout_->first(rank + 1); ++slot) {
    const std::int32_t expert = expert_of_slot_[slot];
    if (expert == no_expert || serving_[expert] != slot || activations_[expert] == 0) continue;
    for (int i = replicas_.first_replica[expert]; i < replicas_.first_replica[expert + 1]; ++i) {
      const std::int32_t to = replicas_.slot_of_replica[i];
      const std::int64_t load = load_[layout_->rank_of(to)] + activations_[expert];
      if (layout_->rank_of(to) == rank || load >= best_load) continue;
      best = {expert, to};
      best_load = load;
    }
  }
  if (best.to >= 0) {
    move(best.expert, best.to);
    return true;
  }
  for (int slot = layout_->first(rank); slot < layout_->first(rank + 1); ++slot) {
    const std::int32_t expert = expert_of_slot_[slot];
    if (expert == no_expert || serving_[expert] != slot || activations_[expert] == 0) continue;
    for (int i = replicas_.first_replica[expert]; i < replicas_.first_replica[expert + 1]; ++i) {
      const std::int32_t to = replicas_.slot_of_replica[i];
      if (layout_->rank_of(to) == rank) continue;
      if (!make_room(layout_->rank_of(to), activations_[expert], fullest)) continue;
      move(expert, to);
      return true;
    }
  }
  return false;
}

/// Moves one expert off the rank such that `needed` more fit below `below`, as they must on the
/// rank that takes it.
bool whole_server::make_room(int rank, std::int64_t needed, std::int64_t below) {
  for (int slot = layout_->first(rank); slot < layout_->first(rank + 1); ++slot) {
    const std::int32_t expert = expert_of_slot_[slot];
    if (expert == no_expert || serving_[expert] != slot) continue;
    if (load_[rank] - activations_[expert] + needed >= below) continue;
    for (int i = replicas_.first_replica[expert]; i < replicas_.first_replica[expert + 1]; ++i) {
      const std::int32_t to = replicas_.slot_of_replica[i];
      const int other = layout_->rank_of(to);
      if (other == rank || load_[other] + activations_[expert] >= below) continue;
      move(expert, to);
      return true;
    }
  }
  return false;
}

void whole_server::move(std::int32_t expert, std::int32_t to) {
  load_[layout_->rank_of(serving_[expert])] -= activations_[expert];
  load_[layout_->rank_of(to)] += activations_[expert];
  serving_[expert] = to;
}

void serve_whole(const plan_request& request, const planning_tasks& tasks, plan& decided) {
  const placement& current = *request.current;
  const slot_layout& layout = current.layout();
  const auto experts = static_cast<std::size_t>(current.experts());
  whole_server server;
  layer_repair repair;
  std::vector<std::int32_t> shares(static_cast<std::size_t>(layout.slots()));
  std::vector<std::int32_t> kept;
  for (int layer = 0; layer < current.layers(); ++layer) {
    const auto activations = request.loads.subspan(layer * experts, experts);
    const auto now = current.experts_of(layer);
    const auto target = decided.target.experts_of(layer);
    const auto target_shares = decided.target.shares_of(layer);
    layer_outcome& outcome = decided.layers[layer];
    const std::int64_t before = fullest_read(activations, layout, now, current.shares_of(layer));
    if (tasks.policy() == policy_kind::keep) {
      const std::int64_t after = fullest_read(activations, layout, target, target_shares);
      outcome.risk_before = outcome.max_before = static_cast<scaled_load>(before) * share_one;
      outcome.risk_after = outcome.max_after = static_cast<scaled_load>(after) * share_one;
      continue;
    }
    std::int64_t after = server.serve(activations, layout, target, target_shares);
    kept.assign(now.begin(), now.end());
    repair.repair(layout, tasks.of(layer).usable_slots, current.experts(), kept);
    if (std::ranges::equal(kept, now) && !request.compatible) {
      const std::int64_t where_it_is = server.serve(activations, layout, now, shares);
      if (where_it_is <= after) {
        after = where_it_is;
        std::ranges::copy(now, target.begin());
        std::ranges::copy(shares, target_shares.begin());
        outcome.moves = 0;
      }
      if (before <= after) {
        after = before;
        std::ranges::copy(now, target.begin());
        std::ranges::copy(current.shares_of(layer), target_shares.begin());
        outcome.moves = 0;
      }
    }
    outcome.risk_before = outcome.max_before = static_cast<scaled_load>(before) * share_one;
    outcome.risk_after = outcome.max_after = static_cast<scaled_load>(after) * share_one;
  }
}

}  // namespace ballast
