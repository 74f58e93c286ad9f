#include "policies/hedge_state.hpp"

#include <algorithm>
#include <bit>
#include <cstdlib>
#include <numeric>

namespace ballast {

namespace {

using wide = hedge_state::score_type;

constexpr std::int64_t unit = std::int64_t{1} << hedge_state::unit_bits;
constexpr std::int64_t value_max = std::int64_t{1} << 24;  // a sample, 16 mean rank loads
constexpr std::int64_t sum_max = std::int64_t{1} << 27;
constexpr std::int64_t level_max = std::int64_t{1} << 60;
constexpr int share_bits = 16;
constexpr int score_shift = 6;  // an excess is squared in units of 2^-14 mean loads
constexpr std::int64_t excess_max = std::int64_t{1} << 30;
constexpr int slope_shift = 8;  // slopes are taken in units of 2^-12 mean loads
constexpr std::int64_t slope_max = std::int64_t{1} << 22;
constexpr std::int64_t sixteen = 16;

/// sqrt(2 ln ranks) in 1/1024; log2 linear between powers of two.
std::int64_t quantile(int ranks) {
  const int whole = std::bit_width(static_cast<unsigned>(ranks)) - 1;
  const std::int64_t log2 =
      whole * 1024 + ((static_cast<std::int64_t>(ranks) - (1 << whole)) * 1024 >> whole);
  constexpr std::int64_t twice_ln2 = 1453635;  // in 2^-20
  return square_root(twice_ln2 * log2 / 1024);
}

std::int64_t clamped(wide value, std::int64_t most) {
  return static_cast<std::int64_t>(std::clamp<wide>(value, -most, most));
}

}  // namespace

std::int64_t square_root(std::int64_t value) {
  std::int64_t root = 0;
  for (int bit = 31; bit >= 0; --bit) {
    const std::int64_t next = root + (std::int64_t{1} << bit);
    if (static_cast<wide>(next) * next <= value) root = next;
  }
  return root;
}

bool hedge_state::start(const varying_loads& expected, const slot_layout& layout,
                        const speed_scale& speeds, int hosts,
                        std::span<const std::int32_t> expert_of_slot,
                        std::span<const std::int32_t> share_of_slot) {
  layout_ = &layout;
  hosts_ = hosts;
  samples_ = expected.samples;
  slowness_.assign(static_cast<std::size_t>(layout.ranks()), std::int64_t{1} << share_bits);
  if (!speeds.speeds.empty()) {
    for (int rank = 0; rank < layout.ranks(); ++rank) {
      slowness_[rank] =
          static_cast<std::int64_t>(speeds.level(std::int64_t{1} << share_bits, speeds.of(rank)));
    }
  }
  const bool any = std::ranges::any_of(expected.loads, [](std::int64_t load) { return load > 0; });
  if (hosts < 2 || samples_ < 1 || !any) return false;
  scale(expected);
  scale_newest(expected);
  weigh_samples();
  if (together_part_ == 0) samples_ = 0;  // what they add up to does not count

  expert_.assign(expert_of_slot.begin(), expert_of_slot.end());
  share_.assign(expert_.size(), 0);
  slots_.assign(expected.loads.size(), {});
  load_.assign(slowness_.size(), 0);
  newest_.assign(slowness_.size(), 0);
  alone_.assign(slowness_.size(), 0);
  together_.assign(slowness_.size() * static_cast<std::size_t>(samples_), 0);
  known_risk_.assign(slowness_.size(), -1);
  for (std::size_t slot = 0; slot < expert_.size(); ++slot) {
    if (expert_[slot] == no_expert) continue;
    slots_[expert_[slot]].push_back(static_cast<std::int32_t>(slot));
    set_share(static_cast<std::int32_t>(slot), share_of_slot[slot]);
  }
  wide sum = 0;
  for (int rank = 0; rank < layout.ranks(); ++rank) sum += variance(rank);
  const std::int64_t spread = square_root(static_cast<std::int64_t>(sum / hosts));
  z_ = quantile(hosts);
  if (spread == 0) return false;
  per_variance_ = (z_ << 30) / (2 * spread);
  known_risk_.assign(slowness_.size(), -1);
  bend_.resize(weight_.size());
  for (std::size_t expert = 0; expert < bend_.size(); ++expert) {
    std::int64_t squares = 0;
    for (int k = 0; k < samples_; ++k) {
      const std::int64_t off = sample_[expert * samples_ + k];
      squares += off * off;
    }
    bend_[expert] = per_variance(2 * variance(squares, spread_[expert] * spread_[expert]));
  }
  return true;
}

void hedge_state::scale(const varying_loads& expected) {
  const std::size_t experts = expected.loads.size();
  total_ = 0;
  for (const std::int64_t load : expected.loads) total_ += load;
  const auto units = [&](std::int64_t tokens, std::int64_t most) {
    return clamped(static_cast<wide>(tokens) * hosts_ * unit / total_, most);
  };
  weight_.resize(experts);
  sample_.resize(experts * static_cast<std::size_t>(samples_));
  wide squares = 0;
  wide weights = 0;
  for (std::size_t expert = 0; expert < experts; ++expert) {
    weight_[expert] = units(expected.loads[expert], unit * hosts_);
    weights += static_cast<wide>(weight_[expert]) * weight_[expert];
    for (int k = 0; k < samples_; ++k) {
      const std::int64_t off = units(expected.deviations[k * expected.stride + expert], value_max);
      sample_[expert * samples_ + k] = static_cast<std::int32_t>(off);
      squares += static_cast<wide>(off) * off;
    }
  }
  // All experts vary by the same part of their load, 2^-16 of it.
  const std::int64_t part = square_root(
      clamped((squares / samples_ << 32) / std::max<wide>(weights, 1), std::int64_t{1} << 40));
  spread_.resize(experts);
  for (std::size_t expert = 0; expert < experts; ++expert) {
    spread_[expert] = std::min(weight_[expert] * part >> share_bits, value_max);
  }
}

/// How much of the variance to take from experts by themselves. Were all independent, K samples
/// would still show covariances whose squares are a K-th of the products of variances; more than
/// that is common to experts.
void hedge_state::weigh_samples() {
  const std::size_t experts = weight_.size();
  wide squares = 0;  // of covariances, all pairs; by products of samples, which are fewer
  for (int k = 0; k < samples_; ++k) {
    for (int l = 0; l <= k; ++l) {
      std::int64_t product = 0;
      for (std::size_t e = 0; e < experts; ++e) {
        product +=
            (static_cast<std::int64_t>(sample_[e * samples_ + k]) * sample_[e * samples_ + l]) >> 8;
      }
      squares += static_cast<wide>(product) * product * (l < k ? 2 : 1);
    }
  }
  wide variances = 0;
  wide own = 0;
  for (std::size_t e = 0; e < experts; ++e) {
    std::int64_t sum = 0;
    for (int k = 0; k < samples_; ++k) {
      const std::int64_t off = sample_[e * samples_ + k];
      sum += (off * off) >> 8;
    }
    variances += sum;
    own += static_cast<wide>(sum) * sum;
  }
  const wide common = (squares - own) * samples_;
  const wide chance = variances * variances - own;
  independent_ = common <= chance ? sixteen : static_cast<std::int64_t>(sixteen * chance / common);
  together_part_ = ((sixteen - independent_) << share_bits) / (sixteen * samples_);
}

bool hedge_state::holds(int rank, std::int32_t expert) const {
  return std::ranges::any_of(slots_[expert],
                             [&](std::int32_t slot) { return layout_->rank_of(slot) == rank; });
}

std::int64_t hedge_state::variance(int rank) const {
  const std::int64_t* sums = together_.data() + static_cast<std::size_t>(rank) * samples_;
  std::int64_t squares = 0;
  for (int k = 0; k < samples_; ++k) {
    const std::int64_t off = std::clamp(sums[k] >> share_bits, -sum_max, sum_max);
    squares += off * off;
  }
  return variance(squares, alone_[rank]);
}

std::int64_t hedge_state::risk(int rank) const {
  std::int64_t& known = known_risk_[rank];
  if (known < 0) known = risk_at(rank, load_[rank], variance(rank));
  return known;
}

std::int64_t hedge_state::risk_at(int rank, std::int64_t load, std::int64_t variance) const {
  const std::int64_t level = (load >> share_bits) + per_variance(variance);
  return slowness_[rank] == (std::int64_t{1} << share_bits)
             ? level
             : clamped(static_cast<wide>(level) * slowness_[rank] >> share_bits, level_max);
}

hedge_state::score_type hedge_state::score_at(std::int64_t risk, std::int64_t newest) const {
  const std::int64_t excess =
      std::clamp<std::int64_t>((risk - base_) >> score_shift, 0, excess_max);
  return static_cast<score_type>(excess * excess) + score_over(newest);
}

scaled_load hedge_state::highest() const {
  std::int64_t most = 0;
  for (int rank = 0; rank < layout_->ranks(); ++rank) {
    const std::int64_t level =
        (load_[rank] >> share_bits) + z_ * square_root(variance(rank)) / 1024;
    most = std::max(most,
                    clamped(static_cast<wide>(level) * slowness_[rank] >> share_bits, level_max));
  }
  return static_cast<scaled_load>(most) * total_ / hosts_ >> (unit_bits - share_bits);
}

void hedge_state::set_share(std::int32_t slot, std::int32_t share) {
  const std::int32_t expert = expert_[slot];
  const auto rank = static_cast<std::size_t>(layout_->rank_of(slot));
  const std::int64_t more = share - share_[slot];
  known_risk_[rank] = -1;
  load_[rank] += more * weight_[expert];
  newest_[rank] += more * newest_weight_[expert];
  const std::int64_t before = share_[slot] * spread_[expert] >> share_bits;
  const std::int64_t after = share * spread_[expert] >> share_bits;
  alone_[rank] += after * after - before * before;
  std::int64_t* sums = together_.data() + rank * samples_;
  const std::int32_t* samples = sample_.data() + static_cast<std::size_t>(expert) * samples_;
  for (int k = 0; k < samples_; ++k) sums[k] += more * samples[k];
  share_[slot] = share;
}

/// A replica beside others takes an equal part from each.
void hedge_state::put(std::int32_t slot, std::int32_t expert) {
  expert_[slot] = expert;
  share_[slot] = 0;
  auto& slots = slots_[expert];
  std::int32_t taken = 0;
  const auto count = static_cast<std::int32_t>(slots.size()) + 1;
  for (const std::int32_t other : slots) {
    const std::int32_t part = share_[other] / count;
    set_share(other, share_[other] - part);
    taken += part;
  }
  slots.push_back(slot);
  set_share(slot, slots.size() == 1 ? share_one : taken);
}

/// What it carried goes to the other replicas in equal parts.
void hedge_state::leave(std::int32_t slot) {
  const std::int32_t expert = expert_[slot];
  std::int32_t left = share_[slot];
  set_share(slot, 0);
  auto& slots = slots_[expert];
  slots.erase(std::find(slots.begin(), slots.end(), slot));
  expert_[slot] = no_expert;
  auto others = static_cast<std::int32_t>(slots.size());
  for (const std::int32_t other : slots) {
    const std::int32_t part = left / others--;
    set_share(other, share_[other] + part);
    left -= part;
  }
}

/// Rough, but for the sign of differences.
hedge_state::slope hedge_state::slope_of(std::int32_t slot) const {
  const std::int32_t expert = expert_[slot];
  const int rank = layout_->rank_of(slot);
  const std::int64_t* sums = together_.data() + static_cast<std::size_t>(rank) * samples_;
  const std::int32_t* samples = sample_.data() + static_cast<std::size_t>(expert) * samples_;
  std::int64_t squares = 0;
  std::int64_t product = 0;
  for (int k = 0; k < samples_; ++k) {
    const std::int64_t off = std::clamp(sums[k] >> share_bits, -sum_max, sum_max);
    squares += off * off;
    product += off * samples[k];
  }
  const std::int64_t own = (share_[slot] * spread_[expert] >> share_bits) * spread_[expert];
  const std::int64_t rise = weight_[expert] + per_variance(2 * variance(product, own));
  const auto coarse = [&](std::int64_t value) {
    if (slowness_[rank] != (std::int64_t{1} << share_bits))
      value = clamped(static_cast<wide>(value) * slowness_[rank] >> share_bits, level_max);
    return std::clamp<std::int64_t>(value >> slope_shift, 0, slope_max);
  };
  const std::int64_t risk = risk_at(rank, load_[rank], variance(squares, alone_[rank]));
  const std::int64_t height = std::clamp<std::int64_t>(risk >> slope_shift, 1, slope_max);
  const std::int64_t by_share = coarse(rise);
  slope result{height, height * by_share, 3 * by_share * by_share + height * coarse(bend_[expert])};
  slope_over(rank, expert, result);
  return result;
}

/// Exchanges between the replica that does most harm and the one that does least: Newton steps on
/// the sum of risk^4, and on what is above the ceiling.
void hedge_state::split(std::int32_t expert) {
  const auto& slots = slots_[expert];
  if (slots.size() < 2) return;
  slopes_.resize(slots.size());
  for (std::size_t round = 0; round < slots.size(); ++round) {
    std::int64_t highest_risk = 1;
    for (std::size_t i = 0; i < slots.size(); ++i) {
      slopes_[i] = slope_of(slots[i]);
      highest_risk = std::max(highest_risk, slopes_[i].risk);
    }
    std::size_t from = slots.size();
    std::size_t to = 0;
    for (std::size_t i = 0; i < slots.size(); ++i) {
      slope& here = slopes_[i];
      const std::int64_t part = std::max<std::int64_t>(here.risk * 32 / highest_risk, 1);
      here.first = here.first * part * part + here.over_first;
      here.second = here.second * part * part + here.over_second;
      if (share_[slots[i]] > 0 && (from == slots.size() || here.first > slopes_[from].first))
        from = i;
      if (here.first < slopes_[to].first) to = i;
    }
    const std::int64_t difference = slopes_[from].first - slopes_[to].first;
    if (from == to || difference <= 0) return;
    const std::int64_t bend = ((slopes_[from].second + slopes_[to].second) >> share_bits) + 1;
    const auto amount =
        static_cast<std::int32_t>(std::min<std::int64_t>(difference / bend, share_[slots[from]]));
    set_share(slots[from], share_[slots[from]] - amount);
    set_share(slots[to], share_[slots[to]] + amount);
    if (amount < share_one / 128) return;
  }
}

void hedge_state::split_all() {
  for (std::size_t expert = 0; expert < slots_.size(); ++expert) {
    split(static_cast<std::int32_t>(expert));
  }
}

void hedge_state::replace(std::int32_t from, std::int32_t to) {
  const std::int32_t leaving = expert_[to];
  if (leaving != no_expert) leave(to);
  put(to, expert_[from]);
  split(expert_[from]);
  if (leaving != no_expert) split(leaving);
}

void hedge_state::swap(std::int32_t a, std::int32_t b) {
  const std::int32_t first = expert_[a];
  const std::int32_t second = expert_[b];
  const std::int32_t first_share = share_[a];
  const std::int32_t second_share = share_[b];
  set_share(a, 0);
  set_share(b, 0);
  std::ranges::replace(slots_[first], a, b);
  std::ranges::replace(slots_[second], b, a);
  std::swap(expert_[a], expert_[b]);
  set_share(b, first_share);
  set_share(a, second_share);
  split(first);
  split(second);
}

hedge_state::score_type hedge_state::gain_of_swap(std::int32_t a, std::int32_t b) const {
  const std::int32_t first = expert_[a];
  const std::int32_t second = expert_[b];
  const int from = layout_->rank_of(a);
  const int to = layout_->rank_of(b);
  const std::int64_t* from_sums = together_.data() + static_cast<std::size_t>(from) * samples_;
  const std::int64_t* to_sums = together_.data() + static_cast<std::size_t>(to) * samples_;
  const std::int32_t* firsts = sample_.data() + static_cast<std::size_t>(first) * samples_;
  const std::int32_t* seconds = sample_.data() + static_cast<std::size_t>(second) * samples_;
  std::int64_t from_squares = 0;
  std::int64_t to_squares = 0;
  for (int k = 0; k < samples_; ++k) {
    const std::int64_t goes = firsts[k] - seconds[k];
    const std::int64_t here = std::clamp((from_sums[k] >> share_bits) - goes, -sum_max, sum_max);
    const std::int64_t there = std::clamp((to_sums[k] >> share_bits) + goes, -sum_max, sum_max);
    from_squares += here * here;
    to_squares += there * there;
  }
  const std::int64_t load = (weight_[first] - weight_[second]) << share_bits;
  const std::int64_t alone = spread_[first] * spread_[first] - spread_[second] * spread_[second];
  const std::int64_t newest_goes = (newest_weight_[first] - newest_weight_[second]) << share_bits;
  return score(from) + score(to) -
         score_at(risk_at(from, load_[from] - load, variance(from_squares, alone_[from] - alone)),
                  newest_level(from, newest_[from] - newest_goes)) -
         score_at(risk_at(to, load_[to] + load, variance(to_squares, alone_[to] + alone)),
                  newest_level(to, newest_[to] + newest_goes));
}

}  // namespace ballast
