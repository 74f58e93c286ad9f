#include "policies/flow_search.hpp"

#include <algorithm>

namespace ballast {

namespace {

// Candidates whose effect is computed although one is found to help.
constexpr std::size_t tries = 8;
constexpr int large_ranks = 256;
constexpr std::size_t few_candidates = 16;
constexpr std::size_t many_candidates = 192;
constexpr std::size_t looked_ahead = 16;  // candidates after a trial that it may speak against
constexpr std::size_t kicks = 12;
constexpr int revisions_most = 4;  // moves taken back, of one layer
constexpr int chain_slots = 4096;  // of layers that chains are searched for at most
constexpr int follow_ups = 4;
constexpr std::int64_t escape_parts = 1000;  // not worth the time for less above the target
constexpr std::int64_t steps_least = 256;
constexpr std::int64_t steps_per_rank = 4;

}  // namespace

flow_search::flow_search(const cluster_map& cluster, std::span<const std::int32_t> usable_slots)
    : usable_(usable_slots), ledger_(cluster, usable_slots) {}

std::int64_t flow_search::improve(flow_state& state, std::span<const std::int32_t> origin,
                                  const group_homes& homes, const flow_purse& purse,
                                  std::int64_t target) {
  homes_ = &homes;
  target_ = target;
  revisions_ = revisions_most;
  mean_speed_ = state.uneven() ? 16 : 1;
  ledger_.open(state, origin, purse);
  std::int64_t fullest = state.fullest();
  saved_.assign(state.experts().begin(), state.experts().end());
  // Every step lowers the score; the limit is for inputs where that would take very many.
  std::int64_t steps = steps_least + steps_per_rank * state.ranks();
  while (fullest > target_ && steps-- > 0 && (step(state) || take_chain(state) || escape(state))) {
    const std::int64_t now = state.fullest();
    if (now < fullest) {
      fullest = now;
      saved_.assign(state.experts().begin(), state.experts().end());
    }
  }
  while (ledger_.limited() && fullest > target_ && state.fullest() == fullest && revise(state)) {
    fullest = state.fullest();
    saved_.assign(state.experts().begin(), state.experts().end());
  }
  return fullest;
}

/// When the moves are spent: takes one back, first of those that carry least, and looks for a
/// better one in its place.
bool flow_search::revise(flow_state& state) {
  const slot_layout& layout = state.layout();
  revisable_.clear();
  for (std::int32_t slot = 0; slot < layout.slots(); ++slot) {
    const std::int32_t arrived = state.expert(slot);
    const std::int32_t left = ledger_.origin(slot);
    if (arrived == left || arrived == no_expert || left == no_expert) continue;
    const int rank = layout.rank_of(slot);
    if (state.replicas(arrived) > 1 && !ledger_.was_on(rank, arrived) && !state.holds(rank, left) &&
        homes_->allows(rank, left)) {
      revisable_.push_back({state.flow(slot), slot});
    }
  }
  std::sort(revisable_.begin(), revisable_.end());
  const std::int64_t fullest = state.fullest();
  before_ = state;
  for (const auto& [flow, slot] : revisable_) {
    if (revisions_ == 0) return false;
    --revisions_;
    state.replace(slot, ledger_.origin(slot));
    state.settle();
    ledger_.count(state);
    if (step(state) && state.fullest() < fullest) return true;
    state = before_;
    ledger_.count(state);
  }
  return false;
}

/// One move or swap, if any helps: of the few that promise most, or else of many.
bool flow_search::step(flow_state& state) {
  label_blocks(state);
  list_sources(state);
  list_targets(state);
  losing_.clear();
  for (const std::size_t limit : {few_candidates, many_candidates}) {
    limit_ = limit;
    best_.clear();
    estimate_replacements(state);
    estimate_swaps(state);
    const std::size_t first = limit == few_candidates ? 0 : few_candidates;
    if (state.ranks() > large_ranks ? take_first(state, first) : take_best(state, first)) {
      return true;
    }
    if (best_.size() < limit) return false;
  }
  return false;
}

void flow_search::carry_out(flow_state& state, const flow_change& next) {
  ledger_.note(state, next, 1);
  apply(state, next);
  state.settle();
}

/// Makes the first of the candidates from the `first` on that helps. Where ranks are so many that a
/// step matters little, that is worth more than choosing well.
bool flow_search::take_first(flow_state& state, std::size_t first) {
  const score_type before = state.score();
  for (std::size_t i = first; i < best_.size(); ++i) {
    const flow_change& next = best_[i].change;
    ledger_.note(state, next, 1);
    state.begin_trial();
    apply(state, next);
    state.settle();
    const score_type gain = before - state.score();
    if (gain > 0) {
      state.keep();
      return true;
    }
    state.roll_back();
    ledger_.note(state, next, -1);
    losing_.push_back({gain, next});
  }
  return false;
}

/// Makes the best of the candidates from the `first` on, by what they really bring, if any helps.
bool flow_search::take_best(flow_state& state, std::size_t first) {
  const score_type before = state.score();
  // With one move left, only the fullest rank counts.
  const bool final_move = ledger_.limited() && ledger_.moves_left() <= 2;
  const std::int64_t fullest = state.fullest();
  score_type most = 0;
  const flow_change* chosen = nullptr;
  std::size_t tried = 0;
  for (std::size_t i = first; i < best_.size(); ++i) {
    const candidate& next = best_[i];
    if ((!final_move && most >= next.value) || (most > 0 && ++tried > tries)) break;
    if (next.surpassed) {
      losing_.push_back({0, next.change, false});
      continue;
    }
    const std::int32_t left = state.expert(next.change.to);
    state.begin_trial();
    apply(state, next.change);
    state.settle();
    const score_type gain = before - state.score();
    const std::int64_t lower = final_move ? fullest - state.fullest() : 0;
    const bool helps = gain > 0 && lower >= 0;
    list_no_better(state, i, left);
    state.roll_back();
    const std::int64_t price = ledger_.price(state, next.change);
    for (const std::size_t other : no_better_) {
      if (!helps || ledger_.price(state, best_[other].change) >= price)
        best_[other].surpassed = true;
    }
    if (!helps) {
      losing_.push_back({gain, next.change});
      continue;
    }
    score_type value = gain * flow_ledger::price_one / price;
    if (final_move) value += static_cast<score_type>(lower) << 64;
    if (value > most) {
      most = value;
      chosen = &next.change;
    }
  }
  if (chosen != nullptr) carry_out(state, *chosen);
  return chosen != nullptr;
}

/// Of the candidates after one whose trial has been settled, those that would bring no more than it
/// does. All that they have and it has not are replicas where their experts would not put load at
/// the levels that it has led to; so its split is theirs too, or they lack replicas that it uses.
/// `left`: the expert that it took from its slot.
void flow_search::list_no_better(const flow_state& state, std::size_t tried, std::int32_t left) {
  no_better_.clear();
  if (state.equal_shares()) return;
  const slot_layout& layout = state.layout();
  const flow_change& made = best_[tried].change;
  const std::int32_t came = state.expert(made.to);
  const auto before = [&](std::int32_t slot) {
    if (slot == made.to) return left;
    return slot == made.from ? came : state.expert(slot);
  };
  const auto gives = [&](std::int32_t slot, std::int32_t expert) {
    return state.would_use(layout.rank_of(slot), expert);
  };
  const bool misses = left != no_expert && gives(made.to, left);
  const bool misses_own = made.swaps && gives(made.from, came);
  const std::size_t end = std::min(best_.size(), tried + 1 + looked_ahead);
  for (std::size_t i = tried + 1; i < end; ++i) {
    const flow_change& next = best_[i].change;
    if (best_[i].surpassed || (misses && next.to != made.to)) continue;
    if (misses_own && !(next.swaps && next.from == made.from)) continue;
    if (gives(next.to, before(next.from))) continue;
    if (next.swaps && gives(next.from, before(next.to))) continue;
    no_better_.push_back(i);
  }
}

/// Where no single step helps: a chain that brings the fullest block down all the way to the
/// target, or else a part of it. Looks at the block as the last step left it.
bool flow_search::take_chain(flow_state& state) {
  if (state.slots() > chain_slots || (ledger_.limited() && ledger_.moves_left() <= 0)) return false;
  open_.clear();
  for (int rank = 0; rank < state.ranks(); ++rank) {
    if (ledger_.has_room(rank)) open_.push_back(rank);
  }
  chain_task task{block_of_, top_, sources_, open_};
  const std::int64_t top = state.fullest();
  for (const std::int64_t part : {1, 4, 16, 64, 256}) {
    task.limit = top - (top - target_) / part;
    if (task.limit < top && make_chain(state, chains_.find(state, *homes_, task))) return true;
  }
  return false;
}

/// Makes the chain if it is within the purse and helps.
bool flow_search::make_chain(flow_state& state, std::span<const assignment> chain) {
  if (chain.empty() || !ledger_.allows(state, chain)) return false;
  const score_type before = state.score();
  before_ = state;
  for (const assignment& next : chain) state.replace(next.slot, next.expert);
  state.settle();
  if (state.score() < before) {
    ledger_.count(state);
    return true;
  }
  state = before_;
  return false;
}

/// Where no single step helps: makes one that costs least and sees whether the steps after it make
/// up for it.
bool flow_search::escape(flow_state& state) {
  const score_type before = state.score();
  if (ledger_.limited() && ledger_.moves_left() < 2) return false;
  if (state.fullest() <= target_ + target_ / escape_parts) return false;
  for (outcome& left : losing_) {
    if (left.tried) continue;
    state.begin_trial();
    apply(state, left.change);
    state.settle();
    left.gain = before - state.score();
    state.roll_back();
  }
  std::stable_sort(losing_.begin(), losing_.end(),
                   [](const outcome& a, const outcome& b) { return a.gain > b.gain; });
  if (losing_.size() > kicks) losing_.resize(kicks);
  const std::vector<outcome> kicked = losing_;
  before_ = state;
  for (const outcome& first : kicked) {
    carry_out(state, first.change);
    for (int depth = 0; depth < follow_ups && step(state); ++depth) {
      if (state.score() < before) return true;
    }
    state = before_;
    ledger_.count(state);
  }
  return false;
}

/// Keeps the candidate if it is among the best and affordable.
void flow_search::offer(const flow_state& state, const candidate& next) {
  if (best_.size() == limit_ && next.value <= best_.back().value) return;
  auto at = best_.end();
  while (at != best_.begin() && (at - 1)->value < next.value) --at;
  // One of several that differ only in the replica that leaves, or in which of two equal experts.
  const int rank = state.layout().rank_of(next.change.to);
  for (auto held = at; held != best_.begin() && (held - 1)->value == next.value; --held) {
    const flow_change& change = (held - 1)->change;
    if (change.swaps == next.change.swaps && change.from == next.change.from &&
        state.layout().rank_of(change.to) == rank) {
      return;
    }
  }
  if (!ledger_.allows(state, next.change)) return;
  at = best_.insert(at, next);
  if (best_.size() > limit_) best_.pop_back();
}

void flow_search::apply(flow_state& state, const flow_change& next) {
  if (next.swaps) {
    state.swap(next.from, next.to);
  } else {
    state.replace(next.to, state.expert(next.from));
  }
}

}  // namespace ballast
