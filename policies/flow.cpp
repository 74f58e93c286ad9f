#include "policies/flow.hpp"

#include <algorithm>
#include <numeric>

#include "policies/balance.hpp"

namespace ballast {

namespace {

// A layer this near its bound, one part in so many, is good enough. Evening out very many ranks to
// the last takes longer than it is worth.
constexpr std::int64_t gap_parts = 4096;
constexpr std::int64_t gap_parts_large = 400;
constexpr int large_ranks = 256;
constexpr std::int64_t worth_parts = 500;  // what a plan from nothing has to gain on one from here

constexpr int repack_slots = 4;  // per rank at most
constexpr int repack_levels = 10;
constexpr int swaps_max = 8;  // of groups

// How far a hedge may raise the fullest rank in the newest loads, one part in so many.
constexpr std::int64_t ceiling_parts = 1024;
constexpr std::int64_t ceiling_parts_of_pairs = 8192;

}  // namespace

flow_planner::flow_planner(const flow_setting& setting)
    : setting_(setting),
      hosts_(hosts_among(setting.usable_slots, setting.speeds, 0,
                         static_cast<int>(setting.usable_slots.size()))),
      search_(setting.cluster, setting.usable_slots),
      aligner_(setting.experts),
      deepseek_({setting.experts,
                 1,
                 1,
                 {setting.usable_slots.begin(), setting.usable_slots.end()},
                 false}),
      counts_(setting.usable_slots),
      spreader_(setting.cluster),
      homes_(setting.experts, setting.homes, setting.usable_slots, setting.speeds) {
  rules_.speeds = setting.speeds;
  rules_.hosts = hosts_.ranks;
  rules_.host_speeds = std::accumulate(hosts_.speeds.begin(), hosts_.speeds.end(), std::int64_t{0});
  rules_.equal_shares = setting.equal_shares;
}

void flow_planner::plan_layer(const varying_loads& expected, const slot_layout& layout,
                              std::span<const std::int32_t> current, const flow_purse& purse,
                              std::span<std::int32_t> expert_of_slot,
                              std::span<std::int32_t> share_of_slot) {
  const std::span<const std::int64_t> loads = expected.loads;
  layout_ = &layout;
  current_ = current;
  purse_ = purse;
  start_.assign(current.begin(), current.end());
  repair_.repair(layout, setting_.usable_slots, setting_.experts, start_);
  homes_.read(layout, start_);
  found_.experts.clear();
  paired_ = pair(expected);
  if (!paired_) search(loads);
  if (!std::ranges::equal(state_.experts(), found_.experts)) {
    state_.start(loads, layout, found_.experts, rules_);
  }
  if (setting_.cold_start && !homes_.kept()) spread();
  share_.resize(current.size());
  if (setting_.equal_shares) {
    set_equal_shares(state_.experts(), setting_.experts, share_);
  } else {
    shares_.minimise_fullest(state_);
    shares_.round(state_, paired_ ? expected.newest : loads, share_);
  }
  found_.experts.assign(state_.experts().begin(), state_.experts().end());
  if (expected.samples > 0 && !setting_.equal_shares) hedge(expected);
  write(layout, current, expert_of_slot, share_of_slot);
}

void flow_planner::search(std::span<const std::int64_t> loads) {
  // What is not at home stays where it is unless everything may move.
  const bool limited = purse_.moves >= 0 || !purse_.rank_left.empty();
  if (limited || homes_.local(*layout_, start_)) search_from(loads, start_, homes_);
  if (homes_.kept() && !found_.experts.empty()) try_other_homes(loads);
  if (purse_.moves < 0) plan_afresh(loads);
  if (!found_.experts.empty()) repack(loads);
}

/// Where every rank has two slots and the newest loads are known.
bool flow_planner::pair(const varying_loads& expected) {
  const bool two =
      layout_->ranks() <= large_ranks && layout_->slots() == 2 * layout_->ranks() &&
      std::ranges::all_of(setting_.usable_slots, [](auto slots) { return slots == 2; });
  if (!two || expected.samples == 0 || expected.newest.empty() || setting_.equal_shares ||
      setting_.cold_start || homes_.kept() || setting_.speeds.uneven() ||
      !purse_.rank_left.empty()) {
    return false;
  }
  if (!pairs_.pair({expected.newest, expected.loads, start_, current_, purse_.moves})) return false;
  found_.experts.assign(pairs_.slots().begin(), pairs_.slots().end());
  // The newest loads are certain to have been: they come out as even as they can.
  state_.start(expected.newest, *layout_, found_.experts, rules_);
  return true;
}

bool flow_planner::is_local(const slot_layout& layout, std::span<const std::int32_t> experts) {
  homes_.read(layout, experts);
  return homes_.local(layout, experts);
}

/// Searches from a placement. Takes the result if it is the first, or clearly better than what was
/// found before and within the purse.
void flow_planner::search_from(std::span<const std::int64_t> loads,
                               std::span<const std::int32_t> experts, const group_homes& homes) {
  state_.start(loads, *layout_, experts, rules_);
  const std::int64_t bound = bound_at(loads, homes);
  const std::int64_t target =
      bound + bound / (layout_->ranks() > large_ranks ? gap_parts_large : gap_parts);
  // The search goes as far as the target. From a start above it, it ends no clearly better than
  // what is there already.
  if (!found_.experts.empty() && found_.fullest <= target && state_.fullest() > target &&
      !setting_.cold_start) {
    return;
  }
  const std::int64_t fullest = search_.improve(state_, current_, homes, purse_, target);
  const std::int64_t worth = setting_.cold_start ? 0 : fullest / worth_parts;
  if (!found_.experts.empty() &&
      (fullest + worth >= found_.fullest || !search_.affordable(search_.best()))) {
    return;
  }
  found_.experts.assign(search_.best().begin(), search_.best().end());
  found_.fullest = fullest;
}

/// Groups that change places with others may even out what no move inside a node can: one swap
/// after another, as far as the purse reaches.
void flow_planner::try_other_homes(std::span<const std::int64_t> loads) {
  for (int swaps = 1; swaps <= swaps_max; ++swaps) {
    group_homes homes = homes_;
    if (homes.improve(loads, swaps) < swaps) break;
    const std::int64_t bound = bound_at(loads, homes);
    if (found_.fullest <= bound + bound / worth_parts) continue;
    afresh_ = start_;
    homes.bring_home(loads, *layout_, afresh_);
    if (!search_.affordable(afresh_)) break;
    search_from(loads, afresh_, homes);
  }
}

/// Starts from the greedy's placement instead of the current one and takes what comes of it if that
/// is clearly better: it moves nearly everything. With equal shares, which cannot make up for
/// replicas of sizes that do not fit together, then from one with other numbers of replicas.
void flow_planner::plan_afresh(std::span<const std::int64_t> loads) {
  group_homes homes = homes_;
  homes.choose(loads);
  const std::int64_t bound = bound_at(loads, homes);
  const std::int64_t worth = setting_.cold_start ? 0 : bound / worth_parts;
  if (!found_.experts.empty() && found_.fullest <= bound + worth) return;
  afresh_.resize(current_.size());
  if (homes.kept()) {
    homes.place(loads, *layout_, 0, afresh_);
  } else {
    deepseek_.plan_layer(loads, *layout_, afresh_);
  }
  search_from(loads, afresh_, homes);
  const std::int64_t near = bound + std::max(worth, bound / gap_parts);
  if (!setting_.equal_shares || found_.fullest <= near || layout_->ranks() > large_ranks) return;
  const int shift = state_.unit_shift();
  // In tokens, of ranks of equal speed; what others have to carry is for the search from there.
  const std::int64_t enough = state_.uneven() ? 1 : shift >= 0 ? near >> shift : near << -shift;
  if (homes.kept()) {
    homes.place(loads, *layout_, std::max<std::int64_t>(enough, 1), afresh_);
  } else {
    counts_.place(loads, *layout_, enough, afresh_);
  }
  search_from(loads, afresh_, homes);
}

/// The lowest level, by bisection, that a repacking within the purse keeps, and what the search
/// makes of it.
void flow_planner::repack(std::span<const std::int64_t> loads) {
  if (layout_->slots() > repack_slots * layout_->ranks() || !homes_.local(*layout_, start_)) return;
  const std::int64_t bound = bound_at(loads, homes_);
  std::int64_t low = bound;
  std::int64_t high = found_.fullest;
  afresh_.clear();
  for (int i = 0; i < repack_levels && high - low > high / gap_parts; ++i) {
    const std::int64_t level = low + (high - low) / 2;
    if (repacker_.repack({state_, start_, current_, setting_.usable_slots, homes_}, level) &&
        search_.affordable(repacker_.slots())) {
      afresh_.assign(repacker_.slots().begin(), repacker_.slots().end());
      high = level;
    } else {
      low = level;
    }
  }
  if (!afresh_.empty()) search_from(loads, afresh_, homes_);
}

/// Over the nodes, as far as no rank rises above the fullest.
void flow_planner::spread() {
  spreader_.spread(state_, current_, state_.fullest(),
                   [this](std::span<const std::int32_t> experts) {
                     return purse_.rank_left.empty() || search_.affordable(experts);
                   });
}

/// The least that the fullest rank carries, whatever is moved where, in units of the state.
std::int64_t flow_planner::bound_at(std::span<const std::int64_t> loads,
                                    const group_homes& homes) const {
  const scaled_load bound =
      homes.kept() ? homes.bound(loads) : bound_with_free_shares(loads, hosts_, setting_.speeds);
  const int shift = 16 - state_.unit_shift();  // a scaled load is in 65536ths of a token
  return static_cast<std::int64_t>(bound >> shift);
}

void flow_planner::hedge(const varying_loads& expected) {
  if (!varying_.start(expected, *layout_, setting_.speeds, rules_.hosts, found_.experts, share_))
    return;
  if (!expected.newest.empty()) {
    varying_.set_ceiling(
        fullest_rank_load(expected.newest, found_.experts, share_, *layout_, setting_.speeds),
        paired_ ? ceiling_parts_of_pairs : ceiling_parts);
  }
  homes_.read(*layout_, found_.experts);
  // Moves beside those of pairs gain nothing for what comes and cost what has been.
  hedge_limits limits{setting_.usable_slots, &homes_, paired_ ? 0 : purse_.moves, {}};
  if (!purse_.rank_left.empty()) {
    limits.affordable = [this](std::span<const std::int32_t> experts) {
      return search_.affordable(experts);
    };
  }
  hedging_.improve(varying_, current_, limits);
  found_.experts.assign(varying_.experts().begin(), varying_.experts().end());
  share_.assign(varying_.shares().begin(), varying_.shares().end());
}

scaled_load flow_planner::risk(const varying_loads& expected, const slot_layout& layout,
                               std::span<const std::int32_t> experts,
                               std::span<const std::int32_t> shares, scaled_load otherwise) {
  if (expected.samples == 0) return otherwise;
  return varying_.start(expected, layout, setting_.speeds, rules_.hosts, experts, shares)
             ? varying_.highest()
             : otherwise;
}

/// Lets experts that stay on their rank keep their slots, and carries the shares along.
void flow_planner::write(const slot_layout& layout, std::span<const std::int32_t> current,
                         std::span<std::int32_t> expert_of_slot,
                         std::span<std::int32_t> share_of_slot) {
  std::copy(found_.experts.begin(), found_.experts.end(), expert_of_slot.begin());
  for (int rank = 0; rank < layout.ranks(); ++rank) {
    const auto first = static_cast<std::size_t>(layout.first(rank));
    const auto count = static_cast<std::size_t>(layout.count(rank));
    aligner_.align(current.subspan(first, count), expert_of_slot.subspan(first, count));
    for (std::size_t slot = first; slot < first + count; ++slot) {
      share_of_slot[slot] = 0;
      if (expert_of_slot[slot] == no_expert) continue;
      std::size_t at = first;
      while (found_.experts[at] != expert_of_slot[slot]) ++at;
      share_of_slot[slot] = share_[at];
    }
  }
}

}  // namespace ballast
