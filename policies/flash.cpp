#include "policies/flash.hpp"

#include <algorithm>
#include <numeric>

namespace ballast {

namespace {

constexpr std::size_t groups = 4;
constexpr std::int64_t width = 8;  // numbers tried to either side
constexpr int few_ranks = 32;
constexpr std::uint64_t balanced_permille = 900;
constexpr std::uint64_t balanced_permille_few = 950;
constexpr std::uint64_t impossible = ~std::uint64_t{0};

}  // namespace

flash_policy::flash_policy(std::span<const std::int32_t> usable_slots, int experts)
    : capacity_(usable_slots), packer_(usable_slots) {
  std::int32_t slots = 0;
  for (const std::int32_t usable : usable_slots) {
    if (usable == 0) continue;
    ++hosts_;
    uniform_ = uniform_ && (slots == 0 || slots == usable);
    slots = usable;
  }
  spare_ = spread_rule(usable_slots, experts).total() - experts;
}

void flash_policy::plan_layer(const layer_question& question,
                              std::span<std::int32_t> expert_of_slot) {
  layout_ = &question.layout();
  start_.assign(question.current().begin(), question.current().end());
  repair_.repair(*layout_, capacity_, static_cast<int>(question.loads().size()), start_);
  std::ranges::copy(start_, expert_of_slot.begin());
  layer_.read(question);
  if (!must_plan(question)) return;
  const std::uint64_t score_now = best_score_;
  search();
  if (best_score_ >= score_now) return;
  matcher_.match(*layout_, capacity_, start_, layer_.experts(), best_);
  std::ranges::copy(best_, expert_of_slot.begin());
}

/// Leaves the score of the current placement behind.
bool flash_policy::must_plan(const layer_question& question) {
  counts_.assign(question.loads().size(), 0);
  for (const std::int32_t expert : start_) {
    if (expert != no_expert) ++counts_[expert];
  }
  best_score_ = layer_.score(*layout_, start_, counts_, hosts_);
  const std::uint64_t permille = hosts_ < few_ranks ? balanced_permille_few : balanced_permille;
  return layer_.even_score() * 1000 < best_score_ * permille;
}

void flash_policy::search() {
  const auto experts = static_cast<std::size_t>(layer_.experts());
  const auto risks = layer_.risks();
  by_risk_.resize(experts);
  std::iota(by_risk_.begin(), by_risk_.end(), 0);
  std::stable_sort(by_risk_.begin(), by_risk_.end(),
                   [&](std::int32_t a, std::int32_t b) { return risks[a] > risks[b]; });
  packer_.start(layer_, *layout_);
  candidate_.resize(start_.size());

  grow_greedily();
  packer_.pack_by_mean(counts_, candidate_);
  best_ = candidate_;
  best_score_ = layer_.score(*layout_, best_, counts_, hosts_);

  fixed_.assign(experts, 1);
  std::int64_t left = spare_;
  const std::size_t group_experts = (experts + groups - 1) / groups;
  for (std::size_t group = 0; group + 1 < groups && left > 0; ++group) {
    const std::size_t first = std::min(group * group_experts, experts);
    const std::size_t last = std::min(first + group_experts, experts);
    if (last == experts) break;
    grow(first, experts, left, extras_all_);
    grow(first, last, left, extras_group_);
    grow(last, experts, left, extras_rest_);
    std::vector<std::uint8_t> in_group(experts, 0);
    for (std::size_t i = first; i < last; ++i) in_group[by_risk_[i]] = 1;
    const std::int64_t start = std::ranges::count_if(
        extras_all_, [&](std::int32_t expert) { return in_group[expert] != 0; });
    const auto score_of = [&](std::int64_t given) {
      if (given < 0 || given > static_cast<std::int64_t>(extras_group_.size()) ||
          left - given > static_cast<std::int64_t>(extras_rest_.size()) || given > left) {
        return impossible;
      }
      counts_ = fixed_;
      add(std::span(extras_group_).first(static_cast<std::size_t>(given)));
      add(std::span(extras_rest_).first(static_cast<std::size_t>(left - given)));
      return try_counts();
    };
    std::int64_t best_given = start;
    std::uint64_t best = score_of(start);
    const std::int64_t radius = std::min(std::max(start, left - start), width);
    for (std::int64_t step = 1; step <= radius; ++step) {
      for (const std::int64_t given : {start - step, start + step}) {
        const std::uint64_t score = score_of(given);
        if (score >= best) continue;
        best = score;
        best_given = given;
      }
    }
    if (best == impossible) break;
    for (std::int64_t i = 0; i < best_given; ++i) ++fixed_[extras_group_[i]];
    left -= best_given;
  }
}

/// The candidate's score; a candidate better than all before is kept.
std::uint64_t flash_policy::try_counts() {
  if (!fits(counts_) || !packer_.pack(counts_, candidate_)) return impossible;
  const std::uint64_t score = layer_.score(*layout_, candidate_, counts_, hosts_);
  if (score < best_score_) {
    best_score_ = score;
    best_.swap(candidate_);
  }
  return score;
}

/// Lists the experts to which the greedy gives `extra` replicas one after another, of those in
/// by_risk_[first, last) alone: always to the riskiest replica, the first among equals, as long as
/// there are ranks for it. The experts with one replica are a queue; a heap holds those with more.
void flash_policy::grow(std::size_t first, std::size_t last, std::int64_t extra,
                        std::vector<std::int32_t>& extras) {
  const auto risks = layer_.risks();
  grown_.resize(risks.size());
  const auto after = [&](std::int32_t a, std::int32_t b) {               // positions in by_risk_
    const std::int64_t left = risks[by_risk_[a]] * grown_[by_risk_[b]];  // below 2^49 * 2^14
    const std::int64_t right = risks[by_risk_[b]] * grown_[by_risk_[a]];
    return left != right ? left < right : a > b;
  };
  for (std::size_t i = first; i < last; ++i) grown_[by_risk_[i]] = 1;
  heap_.clear();
  extras.clear();
  while (extra > 0 && (first < last || !heap_.empty())) {
    const auto next = static_cast<std::int32_t>(first);
    std::int32_t position = next;
    if (first < last && (heap_.empty() || after(heap_[0], next))) {
      ++first;
    } else {
      std::pop_heap(heap_.begin(), heap_.end(), after);
      position = heap_.back();
      heap_.pop_back();
    }
    const std::int32_t expert = by_risk_[position];
    if (grown_[expert] >= hosts_) continue;
    ++grown_[expert];
    extras.push_back(expert);
    heap_.push_back(position);
    std::push_heap(heap_.begin(), heap_.end(), after);
    --extra;
  }
}

/// Counts that can be placed whatever the capacities are.
void flash_policy::grow_greedily() {
  const auto experts = static_cast<std::size_t>(layer_.experts());
  counts_.assign(experts, 1);
  spread_rule rule(capacity_, static_cast<int>(experts));
  std::vector<std::uint8_t> full(experts, 0);
  const auto risks = layer_.risks();
  for (std::int64_t given = 0; given < spare_;) {
    std::int32_t riskiest = -1;
    for (const std::int32_t expert : by_risk_) {
      if (full[expert]) continue;
      if (riskiest < 0 || risks[expert] * counts_[riskiest] > risks[riskiest] * counts_[expert]) {
        riskiest = expert;
      }
    }
    if (rule.grow(counts_[riskiest])) {
      ++counts_[riskiest];
      ++given;
    } else {
      full[riskiest] = 1;
    }
  }
}

bool flash_policy::fits(std::span<const std::int32_t> counts) const {
  if (uniform_) return true;  // no count is above the number of ranks
  spread_rule rule(capacity_, static_cast<int>(counts.size()));
  for (const std::int32_t count : counts) {
    for (std::int32_t replica = 1; replica < count; ++replica) {
      if (!rule.grow(replica)) return false;
    }
  }
  return true;
}

void flash_policy::add(std::span<const std::int32_t> extras) {
  for (const std::int32_t expert : extras) ++counts_[expert];
}

}  // namespace ballast
