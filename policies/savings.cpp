#include "policies/savings.hpp"

#include <algorithm>

#include "policies/balance.hpp"

namespace ballast {

namespace {

constexpr std::int64_t layer_factor = 5;

/// Sum of the mean rank loads by the sum of the largest, in thousandths; 1000 when idle.
std::int64_t balance_permille(std::span<const std::int64_t> loads, const placement& place,
                              int ranks) {
  const auto experts = static_cast<std::size_t>(place.experts());
  scaled_load total = 0;
  scaled_load fullest = 0;
  for (int layer = 0; layer < place.layers(); ++layer) {
    const auto own = loads.subspan(layer * experts, experts);
    for (const std::int64_t load : own) total += static_cast<scaled_load>(load) * share_one;
    fullest +=
        fullest_rank_load(own, place.experts_of(layer), place.shares_of(layer), place.layout());
  }
  if (fullest == 0) return 1000;
  return std::min<std::int64_t>(static_cast<std::int64_t>(total / ranks / (fullest / 1000 + 1)),
                                1000);
}

}  // namespace

move_savings::move_savings(std::int64_t moves, std::int32_t epochs)
    : moves_(moves), epochs_(epochs) {}

std::int64_t move_savings::open_epoch(std::span<const std::int64_t> loads, const placement& current,
                                      int ranks) {
  const std::int64_t layers = current.layers();
  const std::int64_t most = moves_ * epochs_ * layers;
  const std::int64_t before = saved_ < 0 ? most : saved_ + moves_ * layers;
  saved_ = std::min(before, most);
  const std::int64_t short_of_even = 1000 - balance_permille(loads, current, ranks);
  const std::int64_t part = std::max(short_of_even / 2, short_of_even - 125);
  const std::int64_t wanted = current.layout().slots() * part / 1000;
  // A full account would not keep what the next epoch earns.
  const std::int64_t spare = std::max<std::int64_t>(saved_ + moves_ * layers - most, 0) / layers;
  return std::min(saved_ / layers, std::max(wanted, spare));
}

void move_savings::limit(std::int64_t moves, int layers, plan_limits& limits) {
  const auto lower = [](std::int64_t& limit, std::int64_t to) {
    limit = limit < 0 ? to : std::min(limit, to);
  };
  limits.max_moves_per_layer = layer_factor * moves;
  lower(limits.max_moves_total, moves * layers);
}

void move_savings::spend(std::int64_t moves) { saved_ = std::max<std::int64_t>(saved_ - moves, 0); }

}  // namespace ballast
