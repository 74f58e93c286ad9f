#include "policies/swift.hpp"

#include <algorithm>
#include <numeric>
#include <utility>

namespace ballast {

namespace {

constexpr int swaps_max = 100;
constexpr std::uint64_t parts = 100;  // a layer fuller than its mean by one part is worth a look
constexpr int load_bits = 54;         // of a layer's total; leaves room to multiply by `parts`

}  // namespace

swift_policy::swift_policy(std::span<const std::int32_t> usable_slots, int experts, bool compatible)
    : usable_(usable_slots),
      compatible_(compatible),
      aligner_(experts),
      home_(static_cast<std::size_t>(experts)),
      free_(usable_slots.size()),
      count_(static_cast<std::size_t>(experts)),
      size_(static_cast<std::size_t>(experts)),
      load_(usable_slots.size()),
      sent_to_(usable_slots.size()) {
  for (const std::int32_t slots : usable_slots) hosts_ += slots > 0 ? 1 : 0;
}

void swift_policy::plan_layer(const layer_question& question,
                              std::span<std::int32_t> expert_of_slot) {
  const auto loads = question.loads();
  layout_ = &question.layout();
  slots_.assign(question.current().begin(), question.current().end());
  repair_.repair(*layout_, usable_, static_cast<int>(loads.size()), slots_);
  before_ = slots_;
  std::ranges::copy(slots_, expert_of_slot.begin());
  if (!worth_a_look(loads)) return;
  keep_first_replicas();
  choose_copies(loads);
  place_copies();
  fill_the_rest(loads);
  swap_pairs();
  if (fullest_load() >= fullest_before_) return;
  for (int rank = 0; rank < layout_->ranks(); ++rank) {
    const auto first = static_cast<std::size_t>(layout_->first(rank));
    const auto count = static_cast<std::size_t>(layout_->count(rank));
    const auto held = std::span(slots_).subspan(first, count);
    std::sort(held.begin(), held.end());
    aligner_.align(question.current().subspan(first, count), held);
  }
  std::ranges::copy(slots_, expert_of_slot.begin());
}

/// Sets the scale, the mean and the fullest rank of the repaired layer.
bool swift_policy::worth_a_look(std::span<const std::int64_t> loads) {
  const auto total =
      static_cast<std::uint64_t>(std::accumulate(loads.begin(), loads.end(), std::int64_t{0}));
  scale_ = unit_scale(total, load_bits);
  mean_ = scale_.unit(static_cast<std::int64_t>(total), 1) / static_cast<std::uint64_t>(hosts_);
  std::fill(count_.begin(), count_.end(), 0);
  for (const std::int32_t expert : slots_) {
    if (expert != no_expert) ++count_[expert];
  }
  weigh(loads);
  fullest_before_ = fullest_load();
  return fullest_before_ * parts >= mean_ * (parts + 1);
}

/// The first replica of an expert is the one met first, going through slot 0 of all ranks, then
/// slot 1, and so on. All other usable slots are emptied.
void swift_policy::keep_first_replicas() {
  std::fill(home_.begin(), home_.end(), -1);
  int widest = 0;
  for (int rank = 0; rank < layout_->ranks(); ++rank) {
    free_[rank].clear();
    sent_to_[rank].clear();
    widest = std::max(widest, layout_->count(rank));
  }
  received_.assign(slots_.size(), 0);
  std::vector<std::int32_t> kept(free_.size(), 0);
  for (int row = 0; row < widest; ++row) {
    for (int rank = 0; rank < layout_->ranks(); ++rank) {
      if (row >= layout_->count(rank)) continue;
      std::int32_t& expert = slots_[layout_->first(rank) + row];
      if (expert != no_expert && home_[expert] < 0) {
        home_[expert] = rank;
        ++kept[rank];
        continue;
      }
      expert = no_expert;
      free_[rank].push_back(layout_->first(rank) + row);
    }
  }
  for (int rank = 0; rank < layout_->ranks(); ++rank) {
    free_[rank].resize(static_cast<std::size_t>(usable_[rank] - kept[rank]));
  }
}

/// One copy after another to the expert whose replicas are largest. Sizes are left as estimated.
void swift_policy::choose_copies(std::span<const std::int64_t> loads) {
  copies_.clear();
  std::fill(count_.begin(), count_.end(), 1);
  for (std::size_t e = 0; e < loads.size(); ++e) size_[e] = estimate(loads[e], 1);
  std::size_t wanted = 0;
  for (const auto& slots : free_) wanted += slots.size();
  while (copies_.size() < wanted) {
    std::int32_t largest = -1;
    for (std::size_t e = 0; e < loads.size(); ++e) {
      if (count_[e] < hosts_ && (largest < 0 || size_[e] >= size_[largest])) {
        largest = static_cast<std::int32_t>(e);
      }
    }
    if (largest < 0) break;
    copies_.push_back(largest);
    size_[largest] = estimate(loads[largest], ++count_[largest]);
  }
  std::sort(copies_.begin(), copies_.end(), [&](std::int32_t a, std::int32_t b) {
    return size_[a] != size_[b] ? size_[a] > size_[b] : a < b;
  });
}

/// Each copy to the lightest rank that may take it; a copy that none may take is given up.
void swift_policy::place_copies() {
  std::fill(load_.begin(), load_.end(), 0);
  for (std::size_t e = 0; e < home_.size(); ++e) load_[home_[e]] += size_[e];
  std::fill(count_.begin(), count_.end(), 1);
  for (const std::int32_t copy : copies_) {
    int lightest = -1;
    for (int rank = 0; rank < layout_->ranks(); ++rank) {
      if (free_[rank].empty() || (lightest >= 0 && load_[rank] >= load_[lightest])) continue;
      if (!holds(slots_, rank, copy) && !has_sent(home_[copy], rank)) lightest = rank;
    }
    if (lightest < 0) continue;
    put(free_[lightest].back(), copy);
    free_[lightest].pop_back();
    load_[lightest] += size_[copy];
    note_sent(home_[copy], lightest);
  }
}

/// Slots still free take the largest replicas there are. The published rules do so whatever was
/// sent before; otherwise a rank takes only what it held before or what costs no second transfer
/// between two ranks.
void swift_policy::fill_the_rest(std::span<const std::int64_t> loads) {
  bool filled = false;
  for (int rank = 0; rank < layout_->ranks(); ++rank) {
    for (const std::int32_t slot : free_[rank]) {
      if (!std::exchange(filled, true)) weigh(loads);
      std::int32_t largest = -1;
      for (std::size_t e = 0; e < loads.size(); ++e) {
        const auto expert = static_cast<std::int32_t>(e);
        if ((largest >= 0 && size_[e] < size_[largest]) || holds(slots_, rank, expert)) continue;
        if (compatible_ || holds(before_, rank, expert) || !has_sent(home_[expert], rank)) {
          largest = expert;
        }
      }
      if (largest < 0) break;
      put(slot, largest);
      if (!holds(before_, rank, largest)) note_sent(home_[largest], rank);
      size_[largest] = scale_.unit(loads[largest], count_[largest]);
    }
  }
  if (filled || !compatible_) weigh(loads);
}

/// Sizes and rank loads as they are.
void swift_policy::weigh(std::span<const std::int64_t> loads) {
  for (std::size_t e = 0; e < loads.size(); ++e) size_[e] = scale_.unit(loads[e], count_[e]);
  std::fill(load_.begin(), load_.end(), 0);
  for (std::size_t slot = 0; slot < slots_.size(); ++slot) {
    if (slots_[slot] != no_expert) {
      load_[layout_->rank_of(static_cast<int>(slot))] += size_[slots_[slot]];
    }
  }
}

void swift_policy::swap_pairs() {
  ranks_by_load_.clear();
  for (int rank = 0; rank < layout_->ranks(); ++rank) {
    if (usable_[rank] > 0) ranks_by_load_.push_back(rank);
  }
  for (int swap = 0; swap < swaps_max; ++swap) {
    std::sort(ranks_by_load_.begin(), ranks_by_load_.end(), [&](std::int32_t a, std::int32_t b) {
      return load_[a] != load_[b] ? load_[a] < load_[b] : a < b;
    });
    if (!swap_once(ranks_by_load_.back())) return;
  }
}

/// With the emptiest rank that offers enough.
bool swift_policy::swap_once(int fullest) {
  list_by_id(fullest, mine_);
  for (const std::int32_t other : ranks_by_load_) {
    if (other == fullest || has_sent(other, fullest) || has_sent(fullest, other)) continue;
    list_by_id(other, theirs_);
    const exchange best = best_exchange(fullest, other);
    if (best.from_slot < 0 || best.fuller > load_[fullest] ||
        (load_[fullest] - best.fuller) * parts < mean_) {
      continue;
    }
    const std::uint64_t out = size_[slots_[best.from_slot]];
    const std::uint64_t in = size_[slots_[best.to_slot]];
    std::swap(slots_[best.from_slot], slots_[best.to_slot]);
    received_[best.from_slot] = received_[best.to_slot] = 1;
    load_[fullest] = load_[fullest] - out + in;
    load_[other] = load_[other] - in + out;
    note_sent(fullest, other);
    note_sent(other, fullest);
    return true;
  }
  return false;
}

swift_policy::exchange swift_policy::best_exchange(int fullest, int other) const {
  exchange best;
  for (const std::int32_t mine : mine_) {
    const std::uint64_t out = size_[slots_[mine]];
    if (holds(slots_, other, slots_[mine])) continue;
    for (const std::int32_t theirs : theirs_) {
      const std::uint64_t in = size_[slots_[theirs]];
      const std::uint64_t fuller = std::max(load_[fullest] - out + in, load_[other] - in + out);
      if ((best.from_slot < 0 || fuller < best.fuller) && !holds(slots_, fullest, slots_[theirs])) {
        best = {mine, theirs, fuller};
      }
    }
  }
  return best;
}

/// The rank's slots whose expert may leave: it was here before this plan.
void swift_policy::list_by_id(int rank, std::vector<std::int32_t>& slots) const {
  slots.clear();
  for (int slot = layout_->first(rank); slot < layout_->first(rank + 1); ++slot) {
    if (slots_[slot] != no_expert && !received_[slot]) slots.push_back(slot);
  }
  std::sort(slots.begin(), slots.end(),
            [&](std::int32_t a, std::int32_t b) { return slots_[a] < slots_[b]; });
}

bool swift_policy::holds(std::span<const std::int32_t> slots, int rank, std::int32_t expert) const {
  const auto first = slots.begin() + layout_->first(rank);
  const auto last = slots.begin() + layout_->first(rank + 1);
  return std::find(first, last, expert) != last;
}

std::uint64_t swift_policy::estimate(std::int64_t load, std::int32_t count) const {
  if (!compatible_) return scale_.unit(load, count);
  return 2 * scale_.unit(load, 1) / static_cast<std::uint64_t>(count + 1);
}

void swift_policy::put(std::int32_t slot, std::int32_t expert) {
  slots_[slot] = expert;
  received_[slot] = 1;
  ++count_[expert];
}

bool swift_policy::has_sent(int from, int to) const {
  return std::find(sent_to_[from].begin(), sent_to_[from].end(), to) != sent_to_[from].end();
}

std::uint64_t swift_policy::fullest_load() const {
  return *std::max_element(load_.begin(), load_.end());
}

}  // namespace ballast
