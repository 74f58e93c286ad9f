#include "policies/worth.hpp"

#include <algorithm>

namespace ballast {
namespace {

struct sums {
  scaled_load total = 0;
  scaled_load before = 0;
  scaled_load risk_before = 0;
  scaled_load risk_after = 0;
};

// Scaled so that products of two sums, the number of ranks and 1000 stay inside 128 bits.
sums add_up(const plan& p) {
  sums s;
  for (const layer_outcome& layer : p.layers) {
    s.total += layer.total;
    s.before += layer.max_before;
    s.risk_before += layer.risk_before;
    s.risk_after += layer.risk_after;
  }
  while (std::max({s.total, s.before, s.risk_before, s.risk_after}) >> 48 != 0) {
    s.total >>= 1;
    s.before >>= 1;
    s.risk_before >>= 1;
    s.risk_after >>= 1;
  }
  return s;
}

std::string permille(scaled_load value) {
  return std::to_string(static_cast<long long>(value)) + " permille";
}

}  // namespace

std::string why_not_worth(const plan& candidate, int ranks, const worth_limits& limits) {
  if (candidate.changed.empty()) return "the plan changes nothing";
  const sums s = add_up(candidate);
  if (s.total == 0 || s.before == 0 || s.risk_before == 0 || s.risk_after == 0)
    return "the window is empty";
  // balance = total / (ranks * sum of maxima)
  const scaled_load before = s.total * 1000 / (s.before * ranks);
  if (limits.balance_min_permille < 1000 &&
      s.total * 1000 >= s.before * ranks * limits.balance_min_permille) {
    return "balanced: " + permille(before) + ", asked for " +
           std::to_string(limits.balance_min_permille);
  }
  if (candidate.moves() == 0) return "";
  const scaled_load feared = s.total * 1000 / (s.risk_before * ranks);
  const scaled_load after = s.total * 1000 / (s.risk_after * ranks);
  if (s.total * 1000 * (s.risk_before - s.risk_after) <
      s.risk_before * s.risk_after * ranks * limits.gain_min_permille) {
    return "gain too small: " + permille(feared) + " to " + permille(after) + ", asked for " +
           std::to_string(limits.gain_min_permille);
  }
  return "";
}

}  // namespace ballast
