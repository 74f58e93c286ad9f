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
  now_.flow.assign(slots, 0);
  now_.active.clear(layout);
  several_.clear(layout);
  links_.assign(slots, {-1, layout.ranks()});
  head_.assign(loads.size(), -1);
  count_.assign(loads.size(), 0);
  active_count_.assign(loads.size(), 0);
  now_.load.assign(ranks, 0);
  is_touched_.assign(ranks, 0);
  nodes_.resize(ranks);
  transfers_.resize(2 * ranks);
  queue_.resize(ranks);
  seen_rank_.assign(ranks + 1, 0);
  seen_expert_.assign(loads.size(), 0);
  tree_number_ = 0;
  touched_.clear();
  forget_blocks();
  before_is_now_ = false;
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
  for (std::int32_t slot = head_[expert]; slot >= 0; slot = links_[slot].next) {
    const std::int64_t flow =
        links_[slot].next >= 0 ? part : weight_[expert] - part * (count_[expert] - 1);
    const int rank = layout_->rank_of(slot);
    if (!rules_.equal_shares && count_[expert] > 1) set_active(slot, true);
    now_.load[rank] += flow - now_.flow[slot];
    now_.flow[slot] = flow;
  }
}

bool flow_state::holds(int rank, std::int32_t expert) const {
  if (count_[expert] > layout_->count(rank)) {
    const auto own = experts().subspan(layout_->first(rank), layout_->count(rank));
    return std::ranges::find(own, expert) != own.end();
  }
  for (std::int32_t slot = head_[expert]; slot >= 0; slot = links_[slot].next) {
    if (layout_->rank_of(slot) == rank) return true;
  }
  return false;
}

bool flow_state::would_use(int rank, std::int32_t expert) const {
  const std::int64_t emptier = level(rank) + tolerance_;
  for (std::int32_t slot = head_[expert]; slot >= 0; slot = links_[slot].next) {
    if (level(layout_->rank_of(slot)) <= emptier) return false;
  }
  return true;
}

std::int64_t flow_state::fullest() const {
  if (!uneven_) return *std::max_element(now_.load.begin(), now_.load.end());
  std::int64_t most = 0;
  for (int rank = 0; rank < ranks(); ++rank) most = std::max(most, level(rank));
  return most;
}

std::int64_t flow_state::load_at(int rank, std::int64_t level) const {
  if (!uneven_) return level;
  return static_cast<std::int64_t>((static_cast<score_type>(level) << factor_bits) / factor_[rank]);
}

flow_state::score_type flow_state::score() const {
  score_type sum = 0;
  for (int rank = 0; rank < ranks(); ++rank) {
    const std::int64_t excess = std::max<std::int64_t>(level(rank) - mean_, 0) >> score_shift_;
    sum += static_cast<score_type>(excess) * excess * speed(rank);
  }
  return sum;
}

void flow_state::set_active(std::int32_t slot, bool active) {
  if (carries(slot) == active) return;
  active_count_[expert_[slot]] += active ? 1 : -1;
  links_[slot].reach = active ? layout_->rank_of(slot) : ranks();
  if (active) {
    now_.active.insert(slot);
  } else {
    now_.active.erase(slot);
  }
}

void flow_state::link(std::int32_t slot, std::int32_t expert) {
  expert_[slot] = expert;
  links_[slot].next = head_[expert];
  head_[expert] = slot;
  if (++count_[expert] > 1) several_.insert(slot);
  if (count_[expert] == 2) several_.insert(links_[slot].next);
}

void flow_state::unlink(std::int32_t slot) {
  std::int32_t* at = &head_[expert_[slot]];
  while (*at != slot) at = &links_[*at].next;
  *at = links_[slot].next;
  several_.erase(slot);
  if (--count_[expert_[slot]] == 1) several_.erase(head_[expert_[slot]]);
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
  before_is_now_ = false;
  now_.flow[from_slot] -= amount;
  now_.flow[to_slot] += amount;
  now_.load[from] -= amount;
  now_.load[to] += amount;
}

/// The slot of another replica of the same expert, on the emptiest rank; -1 if there is none.
std::int32_t flow_state::lightest_other(std::int32_t slot) const {
  std::int32_t best = -1;
  for (std::int32_t other = head_[expert_[slot]]; other >= 0; other = links_[other].next) {
    if (other == slot) continue;
    if (best < 0 || level(layout_->rank_of(other)) < level(layout_->rank_of(best))) best = other;
  }
  return best;
}

/// Empties the slot, handing its load on, and gives it to an expert. An expert without any other
/// replica puts all its load here.
void flow_state::put(std::int32_t slot, std::int32_t expert) {
  before_is_now_ = false;
  if (trial_) experts_before_.push_back({slot, expert_[slot]});
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
    now_.flow[slot] = weight_[expert];
    now_.load[rank] += weight_[expert];
  }
}

void flow_state::vacate(std::int32_t slot) {
  const std::int32_t expert = expert_[slot];
  if (rules_.equal_shares) {
    const int rank = layout_->rank_of(slot);
    now_.load[rank] -= now_.flow[slot];
    now_.flow[slot] = 0;
    unlink(slot);
    split_equally(expert);
    return;
  }
  const std::int32_t other = lightest_other(slot);
  if (other < 0) {
    const int rank = layout_->rank_of(slot);
    now_.load[rank] -= now_.flow[slot];
    now_.flow[slot] = 0;
  } else if (now_.flow[slot] > 0) {
    set_active(other, true);
    shift(slot, other, now_.flow[slot]);
    mark(layout_->rank_of(other));
  }
  set_active(slot, false);
  unlink(slot);
  if (count_[expert] == 1) set_active(head_[expert], false);
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
  for (std::int32_t slot = head_[expert]; slot >= 0; slot = links_[slot].next) {
    const int rank = layout_->rank_of(slot);
    const std::int64_t base = now_.load[rank] - now_.flow[slot];
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
    set_active(slot, flow > 0);
    now_.flow[slot] = flow;
    now_.load[rank] = base + flow;
  }
}

void flow_state::begin_trial() {
  trial_ = true;
  experts_before_.clear();
  if (!before_is_now_) before_ = now_;
  changed_before_ = changed_.size();
}

void flow_state::roll_back() {
  trial_ = false;
  for (auto change = experts_before_.rbegin(); change != experts_before_.rend(); ++change) {
    if (expert_[change->slot] != no_expert) {
      set_active(change->slot, false);
      unlink(change->slot);
    }
    if (change->expert != no_expert) link(change->slot, change->expert);
  }
  now_.active.for_each_difference(before_.active,
                                  [this](std::int32_t slot) { set_active(slot, !carries(slot)); });
  now_.flow = before_.flow;
  now_.load = before_.load;
  before_is_now_ = true;
  for (std::size_t i = changed_before_; i < changed_.size(); ++i) is_changed_[changed_[i]] = 0;
  changed_.resize(changed_before_);
}

}  // namespace ballast
