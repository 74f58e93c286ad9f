#include "policies/flow_state.hpp"

#include <algorithm>
#include <bit>
#include <numeric>

namespace ballast {

namespace {

constexpr int total_bits = 61;
constexpr int total_bits_uneven = 45;  // a slow rank's level is far above its load
constexpr int score_mean_bits = 20;    // the mean rank load in units of score
constexpr int share_bits = 16;         // units fine enough to be a share's, where the loads allow
constexpr int first_sweeps = 6;
constexpr int tolerance_shift = 14;

}  // namespace

void flow_state::start(std::span<const std::int64_t> loads, const slot_layout& layout,
                       std::span<const std::int32_t> expert_of_slot, const flow_rules& rules) {
  layout_ = &layout;
  rules_ = rules;
  choose_units(loads);
  const auto slots = static_cast<std::size_t>(layout.slots());
  const auto ranks = static_cast<std::size_t>(layout.ranks());
  trial_ = false;
  expert_.assign(slots, no_expert);
  flow_.assign(slots, 0);
  active_.assign(slots, 0);
  next_.assign(slots, -1);
  delta_.assign(slots, 0);
  head_.assign(loads.size(), -1);
  count_.assign(loads.size(), 0);
  load_.assign(ranks, 0);
  is_touched_.assign(ranks, 0);
  seen_rank_.assign(ranks, 0);
  seen_expert_.assign(loads.size(), 0);
  tree_number_ = 0;
  touched_.clear();
  score_ = 0;
  for (std::size_t slot = 0; slot < slots; ++slot) {
    if (expert_of_slot[slot] != no_expert)
      link(static_cast<std::int32_t>(slot), expert_of_slot[slot]);
  }
  for (std::size_t expert = 0; expert < loads.size(); ++expert) {
    split_equally(static_cast<std::int32_t>(expert));
  }
  if (!rules_.equal_shares) even_out_from_scratch();
}

/// The unit of loads, the speeds as factors, the mean and what follows from it.
void flow_state::choose_units(std::span<const std::int64_t> loads) {
  uneven_ = rules_.speeds.uneven();
  const auto sum =
      static_cast<std::uint64_t>(std::accumulate(loads.begin(), loads.end(), std::int64_t{0}));
  const int bits = uneven_ ? total_bits_uneven : total_bits;
  unit_shift_ = std::min(share_bits, bits - static_cast<int>(std::bit_width(sum)));
  weight_.resize(loads.size());
  for (std::size_t expert = 0; expert < loads.size(); ++expert) {
    weight_[expert] =
        unit_shift_ >= 0 ? loads[expert] << unit_shift_ : loads[expert] >> -unit_shift_;
  }
  total_ = std::accumulate(weight_.begin(), weight_.end(), std::int64_t{0});
  mean_ = total_ / rules_.hosts;
  if (uneven_) {
    mean_ = static_cast<std::int64_t>(
        rules_.speeds.level(static_cast<scaled_load>(total_), rules_.host_speeds));
  }
  tolerance_ = (mean_ >> tolerance_shift) + 2 * layout_->ranks();  // and what division leaves over
  score_shift_ = std::max(
      0, static_cast<int>(std::bit_width(static_cast<std::uint64_t>(mean_))) - score_mean_bits);
  if (!uneven_) return;
  factor_.clear();
  for (const std::int32_t speed : rules_.speeds.speeds) {
    factor_.push_back(
        static_cast<std::int64_t>(rules_.speeds.level(scaled_load{1} << factor_bits, speed)));
  }
}

void flow_state::even_out_from_scratch() {
  for (int sweep = 0; sweep < first_sweeps; ++sweep) {
    for (std::size_t expert = 0; expert < head_.size(); ++expert) {
      if (count_[expert] > 1) respond(static_cast<std::int32_t>(expert));
    }
  }
  for (int rank = 0; rank < layout_->ranks(); ++rank) mark(rank);
  settle();
}

/// What does not divide goes to the last slot of the list.
void flow_state::split_equally(std::int32_t expert) {
  const std::int64_t part = weight_[expert] / std::max(count_[expert], 1);
  for (std::int32_t slot = head_[expert]; slot >= 0; slot = next_[slot]) {
    const std::int64_t flow =
        next_[slot] >= 0 ? part : weight_[expert] - part * (count_[expert] - 1);
    const int rank = layout_->rank_of(slot);
    const std::int64_t more = flow - flow_[slot];
    if (!rules_.equal_shares) active_[slot] = count_[expert] > 1 ? 1 : 0;
    if (more == 0) continue;
    set_flow(slot, flow);
    set_load(rank, load_[rank] + more);
  }
}

bool flow_state::holds(int rank, std::int32_t expert) const {
  for (std::int32_t slot = head_[expert]; slot >= 0; slot = next_[slot]) {
    if (layout_->rank_of(slot) == rank) return true;
  }
  return false;
}

std::int64_t flow_state::fullest() const {
  if (!uneven_) return *std::max_element(load_.begin(), load_.end());
  std::int64_t most = 0;
  for (int rank = 0; rank < ranks(); ++rank) most = std::max(most, level(rank));
  return most;
}

std::int64_t flow_state::load_at(int rank, std::int64_t level) const {
  if (!uneven_) return level;
  return static_cast<std::int64_t>((static_cast<score_type>(level) << factor_bits) / factor_[rank]);
}

flow_state::score_type flow_state::square(int rank, std::int64_t load) const {
  const std::int64_t level = uneven_ ? level_of(rank, load) : load;
  const std::int64_t excess = std::max<std::int64_t>(level - mean_, 0) >> score_shift_;
  const score_type squared = static_cast<score_type>(excess) * excess;
  return uneven_ ? squared * speed(rank) : squared;
}

void flow_state::set_flow(std::int32_t slot, std::int64_t flow) {
  if (trial_) slot_changes_.push_back({slot, flow_[slot], active_[slot]});
  flow_[slot] = flow;
}

void flow_state::set_active(std::int32_t slot, bool active) {
  if (trial_) slot_changes_.push_back({slot, flow_[slot], active_[slot]});
  active_[slot] = active ? 1 : 0;
}

void flow_state::set_load(int rank, std::int64_t load) {
  if (load == load_[rank]) return;
  if (trial_) load_changes_.push_back({rank, load_[rank]});
  score_ += square(rank, load) - square(rank, load_[rank]);
  load_[rank] = load;
}

void flow_state::link(std::int32_t slot, std::int32_t expert) {
  expert_[slot] = expert;
  next_[slot] = head_[expert];
  head_[expert] = slot;
  ++count_[expert];
}

void flow_state::unlink(std::int32_t slot) {
  std::int32_t* at = &head_[expert_[slot]];
  while (*at != slot) at = &next_[*at];
  *at = next_[slot];
  --count_[expert_[slot]];
  expert_[slot] = no_expert;
}

void flow_state::mark(int rank) {
  if (is_touched_[rank]) return;
  is_touched_[rank] = 1;
  touched_.push_back(rank);
}

void flow_state::shift(std::int32_t from_slot, std::int32_t to_slot, std::int64_t amount) {
  const int from = layout_->rank_of(from_slot);
  const int to = layout_->rank_of(to_slot);
  set_flow(from_slot, flow_[from_slot] - amount);
  set_flow(to_slot, flow_[to_slot] + amount);
  set_load(from, load_[from] - amount);
  set_load(to, load_[to] + amount);
}

/// The slot of another replica of the same expert, on the emptiest rank; -1 if there is none.
std::int32_t flow_state::lightest_other(std::int32_t slot) const {
  std::int32_t best = -1;
  for (std::int32_t other = head_[expert_[slot]]; other >= 0; other = next_[other]) {
    if (other == slot) continue;
    if (best < 0 || level(layout_->rank_of(other)) < level(layout_->rank_of(best))) best = other;
  }
  return best;
}

/// Empties the slot, handing its load on, and gives it to an expert. An expert without any other
/// replica puts all its load here.
void flow_state::put(std::int32_t slot, std::int32_t expert) {
  if (trial_) expert_changes_.push_back({slot, expert_[slot]});
  if (expert_[slot] != no_expert) vacate(slot);
  mark(layout_->rank_of(slot));
  if (expert == no_expert) return;
  if (rules_.equal_shares) {
    link(slot, expert);
    split_equally(expert);
    return;
  }
  if (count_[expert] == 1) set_active(head_[expert], true);
  link(slot, expert);
  if (count_[expert] == 1) {
    const int rank = layout_->rank_of(slot);
    set_flow(slot, weight_[expert]);
    set_load(rank, load_[rank] + weight_[expert]);
  }
}

void flow_state::vacate(std::int32_t slot) {
  const std::int32_t expert = expert_[slot];
  if (rules_.equal_shares) {
    const int rank = layout_->rank_of(slot);
    set_load(rank, load_[rank] - flow_[slot]);
    set_flow(slot, 0);
    unlink(slot);
    split_equally(expert);
    return;
  }
  const std::int32_t other = lightest_other(slot);
  if (other < 0) {
    const int rank = layout_->rank_of(slot);
    set_load(rank, load_[rank] - flow_[slot]);
    set_flow(slot, 0);
  } else if (flow_[slot] > 0) {
    if (!active_[other]) set_active(other, true);
    shift(slot, other, flow_[slot]);
    mark(layout_->rank_of(other));
  }
  unlink(slot);
  if (active_[slot]) set_active(slot, false);
  if (count_[expert] == 1 && active_[head_[expert]]) set_active(head_[expert], false);
}

void flow_state::replace(std::int32_t slot, std::int32_t expert) { put(slot, expert); }

void flow_state::swap(std::int32_t a, std::int32_t b) {
  const std::int32_t expert_a = expert_[a];
  const std::int32_t expert_b = expert_[b];
  put(a, no_expert);
  put(b, no_expert);
  put(a, expert_b);
  put(b, expert_a);
}

/// Splits one expert so that its hosts become as even as it can make them: fills the lowest hosts
/// up to a common level.
void flow_state::respond(std::int32_t expert) {
  hosts_.clear();
  for (std::int32_t slot = head_[expert]; slot >= 0; slot = next_[slot]) {
    const int rank = layout_->rank_of(slot);
    const std::int64_t base = load_[rank] - flow_[slot];
    hosts_.push_back({uneven_ ? level_of(rank, base) : base, base, slot});
  }
  std::sort(hosts_.begin(), hosts_.end(), [](const host& a, const host& b) {
    return a.level != b.level ? a.level < b.level : a.slot < b.slot;
  });
  std::int64_t sum = weight_[expert];
  std::int64_t speeds = 0;
  std::size_t filled = 0;
  while (filled < hosts_.size()) {
    const host& next = hosts_[filled];
    const std::int64_t own = speed(layout_->rank_of(next.slot));
    if (filled > 0 &&
        static_cast<score_type>(next.base) * speeds >= static_cast<score_type>(sum) * own) {
      break;
    }
    sum += next.base;
    speeds += own;
    ++filled;
  }
  std::int64_t left = weight_[expert];
  for (std::size_t i = 0; i < hosts_.size(); ++i) {
    const auto [level, base, slot] = hosts_[i];
    const int rank = layout_->rank_of(slot);
    std::int64_t flow = i + 1 == filled ? left : 0;
    if (i + 1 < filled) {
      const std::int64_t full =
          uneven_ ? static_cast<std::int64_t>(static_cast<score_type>(sum) * speed(rank) / speeds)
                  : sum / speeds;
      flow = std::clamp<std::int64_t>(full - base, 0, left);
    }
    left -= flow;
    set_flow(slot, flow);
    active_[slot] = flow > 0 ? 1 : 0;
    set_load(rank, base + flow);
  }
}

void flow_state::begin_trial() {
  trial_ = true;
  slot_changes_.clear();
  expert_changes_.clear();
  load_changes_.clear();
}

void flow_state::roll_back() {
  trial_ = false;
  for (auto change = load_changes_.rbegin(); change != load_changes_.rend(); ++change) {
    set_load(change->rank, change->load);
  }
  for (auto change = expert_changes_.rbegin(); change != expert_changes_.rend(); ++change) {
    if (expert_[change->slot] != no_expert) unlink(change->slot);
    if (change->expert != no_expert) link(change->slot, change->expert);
  }
  for (auto change = slot_changes_.rbegin(); change != slot_changes_.rend(); ++change) {
    flow_[change->slot] = change->flow;
    active_[change->slot] = change->active;
  }
}

}  // namespace ballast
