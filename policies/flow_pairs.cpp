#include "policies/flow_pairs.hpp"

#include <algorithm>

namespace ballast {

namespace {

__extension__ typedef __int128 wide;

constexpr std::int64_t unit = std::int64_t{1} << 20;  // the mean load of a rank
constexpr std::int64_t precision = 4096;              // of levels, one part in so many
// Where the expected loads come out less even than the newest by more than a quarter (the traffic
// changes), the newest give way by one part in so many.
constexpr std::int64_t slack_parts = 50;
constexpr std::int64_t preference_most = 8;  // moves that a pair as heavy as the level may cost

/// The least in (low, high] that `holds`, to the precision; high if none is found to.
template <class predicate>
std::int64_t least_level(std::int64_t low, std::int64_t high, predicate holds) {
  while (high - low > low / precision) {
    const std::int64_t level = low + (high - low) / 2;
    (holds(level) ? high : low) = level;
  }
  return high;
}

}  // namespace

bool flow_pairs::pair(const task& what) {
  if (!scale(what)) return false;
  const levels best = find_levels();
  if (!may_keep(best)) return false;
  const auto arranged = [&](std::int64_t preference) {
    return arrange(best, preference) && (what.moves < 0 || arrivals() <= what.moves);
  };
  // Few moves keep the levels; more of them bring the heaviest pairs below.
  if (arranged(preference_most)) return true;
  if (!arranged(0)) return false;
  found_ = slots_;
  for (const std::int64_t part : {2, 4, 8}) {
    if (arranged(preference_most / part)) return true;
  }
  slots_.swap(found_);
  return true;
}

bool flow_pairs::scale(const task& what) {
  start_ = what.start;
  origin_ = what.origin;
  experts_ = static_cast<std::int32_t>(what.newest.size());
  ranks_ = static_cast<std::int32_t>(what.start.size() / 2);
  wide newest = 0;
  wide expected = 0;
  for (const std::int64_t load : what.newest) newest += load;
  for (const std::int64_t load : what.expected) expected += load;
  if (newest == 0 || expected == 0 || experts_ > 2 * ranks_) return false;
  weight_.resize(what.newest.size());
  for (std::size_t expert = 0; expert < weight_.size(); ++expert) {
    weight_[expert] = {
        static_cast<std::int64_t>(static_cast<wide>(what.newest[expert]) * ranks_ * unit / newest),
        static_cast<std::int64_t>(static_cast<wide>(what.expected[expert]) * ranks_ * unit /
                                  expected)};
  }
  held_.assign(weight_.size(), 0);
  for (const std::int32_t expert : start_) {
    if (expert == no_expert) return false;
    ++held_[expert];
  }
  return std::ranges::find(held_, 0) == held_.end();
}

/// The newest loads come first, since they are certain.
flow_pairs::levels flow_pairs::find_levels() {
  const std::int64_t any = unit * ranks_;
  const auto expected_beside = [&](std::int64_t newest) {
    return least_level(unit, any, [&](std::int64_t level) { return may_keep({newest, level}); });
  };
  levels best;
  best.newest = least_level(unit, any, [&](std::int64_t level) { return may_keep({level, any}); });
  best.expected = expected_beside(best.newest);
  if (best.expected > best.newest + best.newest / 4) {
    best.newest += best.newest / slack_parts;
    best.expected = expected_beside(best.newest);
  }
  return best;
}

bool flow_pairs::may_keep(const levels& most) {
  return may_keep_with(most, false) || may_keep_with(most, true);
}

/// Whether replicas in such numbers can be paired, wherever they lie.
bool flow_pairs::may_keep_with(const levels& most, bool afresh) {
  if (!choose_counts(most, afresh)) return false;
  list_sizes(most);
  if (heavy_list_.size() > static_cast<std::size_t>(ranks_)) return false;
  partner_of_.assign(light_list_.size(), -1);
  for (std::size_t heavy = 0; heavy < heavy_list_.size(); ++heavy) {
    visited_.assign(light_list_.size(), 0);
    if (!find_partner(heavy, most)) return false;
  }
  return true;
}

/// Replicas that the levels take beside the lightest. The others stay as they are, but for those
/// whose experts have more than they need and are burdened least; or go to the heaviest, `afresh`.
bool flow_pairs::choose_counts(const levels& most, bool afresh) {
  sizes lightest = size_of(0, held_[0]);
  for (std::int32_t expert = 1; expert < experts_; ++expert) {
    const sizes own = size_of(expert, held_[expert]);
    lightest.newest = std::min(lightest.newest, own.newest);
    lightest.expected = std::min(lightest.expected, own.expected);
  }
  const std::int64_t newest = most.newest - lightest.newest;
  const std::int64_t expected = most.expected - lightest.expected;
  if (newest <= 0 || expected <= 0) return false;
  needed_.resize(weight_.size());
  wanted_.resize(weight_.size());
  std::int64_t spare = 2 * std::int64_t{ranks_};
  for (std::int32_t expert = 0; expert < experts_; ++expert) {
    const sizes& weight = weight_[expert];
    const std::int64_t fewest =
        std::max(weight.newest / (newest + 1), weight.expected / (expected + 1)) + 1;
    if (fewest > ranks_) return false;
    needed_[expert] = static_cast<std::int32_t>(fewest);
    wanted_[expert] = afresh ? needed_[expert] : std::max(held_[expert], needed_[expert]);
    spare -= wanted_[expert];
  }
  if (afresh) {
    if (spare < 0) return false;
    spread_spare(most, spare);
    return true;
  }
  for (; spare < 0; ++spare) {
    std::int32_t best = -1;
    for (std::int32_t expert = 0; expert < experts_; ++expert) {
      if (wanted_[expert] <= needed_[expert]) continue;
      if (best < 0 || size_of(expert, wanted_[expert] - 1).expected <
                          size_of(best, wanted_[best] - 1).expected) {
        best = expert;
      }
    }
    if (best < 0) return false;
    --wanted_[best];
  }
  return spare == 0;
}

/// One after another to the expert whose replicas are nearest to a level.
void flow_pairs::spread_spare(const levels& most, std::int64_t spare) {
  const auto near = [&](std::int32_t expert) {
    return nearness(size_of(expert, wanted_[expert]), most);
  };
  for (; spare > 0; --spare) {
    std::int32_t best = -1;
    for (std::int32_t expert = 0; expert < experts_; ++expert) {
      if (wanted_[expert] == ranks_) continue;
      if (best < 0 || near(expert) > near(best)) best = expert;
    }
    ++wanted_[best];  // there is one: the slots can be filled as they were
  }
}

void flow_pairs::list_sizes(const levels& most) {
  size_.resize(weight_.size());
  heavy_.resize(weight_.size());
  heavy_list_.clear();
  light_list_.clear();
  for (std::int32_t expert = 0; expert < experts_; ++expert) {
    const sizes own = size_of(expert, wanted_[expert]);
    size_[expert] = own;
    heavy_[expert] = 2 * own.newest > most.newest || 2 * own.expected > most.expected ? 1 : 0;
    auto& list = heavy_[expert] ? heavy_list_ : light_list_;
    list.insert(list.end(), static_cast<std::size_t>(wanted_[expert]), expert);
  }
  const auto lighter = [&](std::int32_t a, std::int32_t b) {
    const std::int64_t left = size_[a].newest + size_[a].expected;
    const std::int64_t right = size_[b].newest + size_[b].expected;
    return left != right ? left < right : a < b;
  };
  std::ranges::sort(light_list_, lighter);
  std::ranges::sort(heavy_list_, [&](std::int32_t a, std::int32_t b) { return lighter(b, a); });
}

/// The lightest that is free, or can be made so.
bool flow_pairs::find_partner(std::size_t heavy, const levels& most) {
  for (const bool free : {true, false}) {
    for (std::size_t light = 0; light < light_list_.size(); ++light) {
      if (visited_[light] || (partner_of_[light] < 0) != free) continue;
      if (!fits(heavy_list_[heavy], light_list_[light], most)) continue;
      visited_[light] = 1;
      if (free || find_partner(static_cast<std::size_t>(partner_of_[light]), most)) {
        partner_of_[light] = static_cast<std::int32_t>(heavy);
        return true;
      }
    }
  }
  return false;
}

}  // namespace ballast
