#include "policies/layer_split.hpp"

#include <algorithm>
#include <bit>
#include <numeric>
#include <vector>

#include "policies/balance.hpp"
#include "policies/flow_shares.hpp"
#include "policies/flow_state.hpp"

namespace ballast {

namespace {

constexpr int grain_bits = 12;   // 4096ths
constexpr int excess_bits = 40;  // of an excess that is squared

class equal_split final : public layer_split {
 public:
  equal_split(std::span<const std::int64_t> loads, const slot_layout& layout,
              std::span<const std::int32_t> experts, const speed_scale& speeds)
      : loads_(loads),
        layout_(layout),
        speeds_(speeds),
        experts_(experts.begin(), experts.end()),
        shares_(experts.size()),
        levels_(static_cast<std::size_t>(layout.ranks())),
        tried_levels_(levels_.size()) {
    const scaled_load total =
        std::accumulate(loads.begin(), loads.end(), scaled_load{0}) * share_one;
    mean_ = std::max<scaled_load>(total / layout.ranks(), 1);
    while (total >> shift_ >> excess_bits != 0) ++shift_;
    split(experts_, levels_);
  }

  merit judge(std::span<const slot_change> changes) override {
    tried_ = experts_;
    for (const slot_change& change : changes) tried_[change.slot] = change.to;
    split(tried_, tried_levels_);
    merit result;
    result.fullest =
        static_cast<std::int64_t>((std::ranges::max(tried_levels_) << grain_bits) / mean_);
    for (const scaled_load load : tried_levels_) {
      const scaled_load excess = std::max<scaled_load>(load - mean_, 0) >> shift_;
      result.unevenness += excess * excess;
    }
    return result;
  }

  void make(std::span<const slot_change> changes) override {
    for (const slot_change& change : changes) experts_[change.slot] = change.to;
    split(experts_, levels_);
  }

  scaled_load fullest() const override { return std::ranges::max(levels_); }
  scaled_load level(int rank) const override { return levels_[rank]; }

 private:
  void split(std::span<const std::int32_t> experts, std::span<scaled_load> levels) {
    set_equal_shares(experts, static_cast<int>(loads_.size()), shares_);
    rank_loads_of(loads_, experts, shares_, layout_, levels);
    if (!speeds_.uneven()) return;
    for (int rank = 0; rank < layout_.ranks(); ++rank)
      levels[rank] = speeds_.level(levels[rank], speeds_.of(rank));
  }

  std::span<const std::int64_t> loads_;
  const slot_layout& layout_;
  speed_scale speeds_;
  std::vector<std::int32_t> experts_;
  std::vector<std::int32_t> tried_;
  std::vector<std::int32_t> shares_;
  std::vector<scaled_load> levels_;
  std::vector<scaled_load> tried_levels_;
  scaled_load mean_ = 1;
  int shift_ = 0;
};

class even_split final : public layer_split {
 public:
  even_split(std::span<const std::int64_t> loads, const slot_layout& layout,
             std::span<const std::int32_t> experts, const speed_scale& speeds) {
    flow_rules rules;
    rules.speeds = speeds;
    rules.hosts = 0;
    rules.host_speeds = 0;
    for (int rank = 0; rank < layout.ranks(); ++rank) {
      if (layout.count(rank) == 0) continue;
      ++rules.hosts;
      rules.host_speeds += speeds.of(rank);
    }
    state_.start(loads, layout, experts, rules);
    find_fullest();
  }

  merit judge(std::span<const slot_change> changes) override {
    state_.begin_trial();
    apply(changes);
    const merit result = {
        static_cast<std::int64_t>((static_cast<scaled_load>(state_.fullest()) << grain_bits) /
                                  std::max<std::int64_t>(state_.mean(), 1)),
        state_.score()};
    state_.roll_back();
    return result;
  }

  void make(std::span<const slot_change> changes) override {
    apply(changes);
    find_fullest();
  }

  scaled_load fullest() const override { return fullest_; }
  scaled_load level(int rank) const override { return scaled(state_.level(rank)); }

 private:
  void apply(std::span<const slot_change> changes) {
    for (const slot_change& change : changes) state_.replace(change.slot, no_expert);
    for (const slot_change& change : changes) {
      if (change.to != no_expert) state_.replace(change.slot, change.to);
    }
    state_.settle();
  }

  /// On a copy: the search for the exact maximum leaves splits that `settle` does not start from.
  void find_fullest() {
    flow_state exact = state_;
    shares_.minimise_fullest(exact);
    fullest_ = scaled(exact.fullest());
  }

  scaled_load scaled(std::int64_t load) const {
    return static_cast<scaled_load>(load)
           << (std::countr_zero(unsigned{share_one}) - state_.unit_shift());
  }

  flow_state state_;
  share_solver shares_;
  scaled_load fullest_ = 0;
};

}  // namespace

std::unique_ptr<layer_split> split_equally(std::span<const std::int64_t> loads,
                                           const slot_layout& layout,
                                           std::span<const std::int32_t> experts,
                                           const speed_scale& speeds) {
  return std::make_unique<equal_split>(loads, layout, experts, speeds);
}

std::unique_ptr<layer_split> split_evenly(std::span<const std::int64_t> loads,
                                          const slot_layout& layout,
                                          std::span<const std::int32_t> experts,
                                          const speed_scale& speeds) {
  return std::make_unique<even_split>(loads, layout, experts, speeds);
}

}  // namespace ballast
