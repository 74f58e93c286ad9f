// Where flow_pairs lays the replicas whose numbers it has chosen.

#include <algorithm>

#include "policies/flow_pairs.hpp"

namespace ballast {

namespace {

constexpr std::int64_t move_price = std::int64_t{1} << 16;

/// value / most, at most 1, to the 16th power, in 2^-16: what lies well below hardly counts.
std::int64_t steep(std::int64_t value, std::int64_t most) {
  std::int64_t part = std::min((value << 16) / most, std::int64_t{1} << 16);
  for (int i = 0; i < 4; ++i) part = part * part >> 16;
  return part;
}

}  // namespace

/// A pair as heavy as the level costs as much as `preference` moves.
bool flow_pairs::arrange(const levels& most, std::int64_t preference) {
  drop_replicas(most);
  return place_heavy(most, preference) && place_light(most, preference) && part_twins();
}

/// Each from the fullest of its ranks.
void flow_pairs::drop_replicas(const levels& most) {
  kept_.assign(start_.begin(), start_.end());
  for (std::int32_t expert = 0; expert < experts_; ++expert) {
    for (int more = held_[expert] - wanted_[expert]; more > 0; --more) {
      std::size_t worst = 0;
      std::int64_t highest = -1;
      for (std::size_t slot = 0; slot < kept_.size(); ++slot) {
        if (kept_[slot] != expert) continue;
        const std::int32_t beside = kept_[slot ^ 1];
        const std::int64_t level = beside == no_expert ? 0 : nearness(size_[beside], most);
        if (level <= highest) continue;
        highest = level;
        worst = slot;
      }
      kept_[worst] = no_expert;
    }
  }
}

/// Of two heavy ones on a rank the heavier stays.
bool flow_pairs::place_heavy(const levels& most, std::int64_t preference) {
  heavy_on_.assign(static_cast<std::size_t>(ranks_), -1);
  std::vector<std::int32_t> left = wanted_;
  for (std::int32_t rank = 0; rank < ranks_; ++rank) {
    for (const std::int32_t expert : {kept_[2 * rank], kept_[2 * rank + 1]}) {
      if (expert == no_expert || !heavy_[expert]) continue;
      std::int32_t& here = heavy_on_[rank];
      if (here >= 0 && size_[here].newest + size_[here].expected >=
                           size_[expert].newest + size_[expert].expected) {
        continue;
      }
      if (here >= 0) ++left[here];
      here = expert;
      --left[expert];
    }
  }
  displaced_.clear();
  for (const std::int32_t expert : heavy_list_) {
    if (left[expert] > 0) displaced_.push_back(expert);
    left[expert] = std::max(left[expert] - 1, 0);
  }
  return displaced_.empty() || place_displaced(most, preference);
}

/// Ranks without a heavy replica take those that are left: where fewest others have to leave.
bool flow_pairs::place_displaced(const levels& most, std::int64_t preference) {
  place_rank_.clear();
  for (std::int32_t rank = 0; rank < ranks_; ++rank) {
    if (heavy_on_[rank] < 0) place_rank_.push_back(rank);
  }
  const std::size_t count = place_rank_.size();
  if (displaced_.size() > count) return false;
  costs_.assign(count * count, 0);
  for (std::size_t item = 0; item < displaced_.size(); ++item) {
    const std::int32_t expert = displaced_[item];
    for (std::size_t place = 0; place < count; ++place) {
      const std::int32_t rank = place_rank_[place];
      std::int64_t cost = was_on(rank, expert) ? 0 : move_price;
      std::int64_t stays = 0;
      for (const std::int32_t beside : {kept_[2 * rank], kept_[2 * rank + 1]}) {
        if (beside == no_expert || beside == expert) continue;
        cost += move_price;
        if (heavy_[beside] || !fits(expert, beside, most)) continue;
        stays = std::max(
            stays, move_price - preference * steep(size_[expert].expected + size_[beside].expected,
                                                   most.expected));
      }
      costs_[item * count + place] = cost - std::max<std::int64_t>(stays, 0);
    }
  }
  place_of_.resize(count);
  solver_.solve(costs_, place_of_);
  for (std::size_t item = 0; item < displaced_.size(); ++item)
    heavy_on_[place_rank_[place_of_[item]]] = displaced_[item];
  return true;
}

bool flow_pairs::place_light(const levels& most, std::int64_t preference) {
  place_rank_.clear();
  for (std::int32_t rank = 0; rank < ranks_; ++rank) {
    place_rank_.insert(place_rank_.end(), heavy_on_[rank] >= 0 ? 1 : 2, rank);
  }
  const std::size_t count = light_list_.size();
  if (place_rank_.size() != count) return false;
  costs_.resize(count * count);
  for (std::size_t item = 0; item < count; ++item) {
    const std::int32_t light = light_list_[item];
    for (std::size_t place = 0; place < count; ++place) {
      const std::int32_t rank = place_rank_[place];
      const std::int32_t heavy = heavy_on_[rank];
      std::int64_t& cost = costs_[item * count + place];
      if (heavy >= 0 && (heavy == light || !fits(heavy, light, most))) {
        cost = assignment_solver::forbidden;
        continue;
      }
      const std::int64_t weight =
          heavy >= 0 ? size_[heavy].expected + size_[light].expected : 2 * size_[light].expected;
      cost = (was_on(rank, light) ? 0 : move_price) + preference * steep(weight, most.expected);
    }
  }
  place_of_.resize(count);
  if (!solver_.solve(costs_, place_of_)) return false;
  slots_.assign(start_.size(), no_expert);
  for (std::int32_t rank = 0; rank < ranks_; ++rank) {
    if (heavy_on_[rank] >= 0) slots_[2 * rank] = heavy_on_[rank];
  }
  for (std::size_t item = 0; item < count; ++item) {
    const std::int32_t rank = place_rank_[place_of_[item]];
    slots_[slots_[2 * rank] == no_expert ? 2 * rank : 2 * rank + 1] = light_list_[item];
  }
  return true;
}

/// Two replicas of a light expert on one rank: one changes places with another light one.
bool flow_pairs::part_twins() {
  for (std::int32_t rank = 0; rank < ranks_; ++rank) {
    const std::int32_t twin = slots_[2 * rank];
    if (twin != slots_[2 * rank + 1]) continue;
    std::int32_t other = 0;
    while (other < ranks_ &&
           (heavy_on_[other] >= 0 || slots_[2 * other] == twin || slots_[2 * other + 1] == twin)) {
      ++other;
    }
    if (other == ranks_) return false;
    std::swap(slots_[2 * rank], slots_[2 * other]);
  }
  return true;
}

std::int64_t flow_pairs::arrivals() const {
  std::int64_t sum = 0;
  for (std::size_t slot = 0; slot < slots_.size(); ++slot)
    sum += was_on(static_cast<int>(slot / 2), slots_[slot]) ? 0 : 1;
  return sum;
}

}  // namespace ballast
