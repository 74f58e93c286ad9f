// What a trial change of a hedge_state is undone from: the experts and ranks that it can touch are
// known before, so they are kept as they are.

#include <algorithm>

#include "policies/hedge_state.hpp"

namespace ballast {

void hedge_state::begin_trial(std::int32_t slot, std::int32_t other) {
  kept_slots_.clear();
  kept_experts_.clear();
  kept_ranks_.clear();
  kept_values_.clear();
  keep_rank(layout_->rank_of(slot));
  keep_rank(layout_->rank_of(other));
  keep_expert(expert_[slot]);
  if (expert_[other] != no_expert) {
    keep_expert(expert_[other]);
  } else {
    kept_slots_.push_back({other, no_expert, 0});
  }
}

void hedge_state::keep_rank(int rank) {
  if (std::ranges::find(kept_ranks_, rank) != kept_ranks_.end()) return;
  kept_ranks_.push_back(rank);
  kept_values_.push_back(load_[rank]);
  kept_values_.push_back(alone_[rank]);
  kept_values_.push_back(risk(rank));
  kept_values_.push_back(newest_[rank]);
  const auto first = together_.begin() + static_cast<std::ptrdiff_t>(rank) * samples_;
  kept_values_.insert(kept_values_.end(), first, first + samples_);
}

void hedge_state::keep_expert(std::int32_t expert) {
  const std::size_t number = kept_experts_.size();
  kept_experts_.push_back(expert);
  if (kept_lists_.size() <= number) kept_lists_.resize(number + 1);
  kept_lists_[number] = slots_[expert];
  for (const std::int32_t slot : slots_[expert]) {
    kept_slots_.push_back({slot, expert, share_[slot]});
    keep_rank(layout_->rank_of(slot));
  }
}

hedge_state::score_type hedge_state::gain() const {
  const auto stride = static_cast<std::size_t>(samples_) + 4;
  score_type sum = 0;
  for (std::size_t i = 0; i < kept_ranks_.size(); ++i) {
    const std::int64_t* values = kept_values_.data() + i * stride;
    const int rank = kept_ranks_[i];
    sum += score_at(values[2], newest_level(rank, values[3])) - score(rank);
  }
  return sum;
}

void hedge_state::roll_back() {
  for (const kept_slot& kept : kept_slots_) {
    expert_[kept.slot] = kept.expert;
    share_[kept.slot] = kept.share;
  }
  for (std::size_t i = 0; i < kept_experts_.size(); ++i) {
    std::swap(slots_[kept_experts_[i]], kept_lists_[i]);
  }
  const auto stride = static_cast<std::size_t>(samples_) + 4;
  for (std::size_t i = 0; i < kept_ranks_.size(); ++i) {
    const auto rank = static_cast<std::size_t>(kept_ranks_[i]);
    const auto values = kept_values_.begin() + static_cast<std::ptrdiff_t>(i * stride);
    load_[rank] = values[0];
    alone_[rank] = values[1];
    known_risk_[rank] = values[2];
    newest_[rank] = values[3];
    std::copy(values + 4, values + static_cast<std::ptrdiff_t>(stride),
              together_.begin() + static_cast<std::ptrdiff_t>(rank) * samples_);
  }
}

}  // namespace ballast
