#include "policies/explain.hpp"

#include <algorithm>
#include <memory>
#include <optional>

#include "policies/balance.hpp"
#include "policies/layer_split.hpp"

namespace ballast {

namespace {

constexpr int top_bits = 12;  // a rank within this part of the fullest is among the fullest

class greedy_order {
 public:
  greedy_order(std::span<const std::int64_t> loads, const slot_layout& layout,
               const layer_slots& current, const layer_slots& target, const speed_scale& speeds)
      : layout_(layout),
        now_(current.experts.begin(), current.experts.end()),
        target_(target.experts),
        replicas_(loads.size(), 0),
        in_step_(now_.size(), 0) {
    for (const std::int32_t expert : now_) {
      if (expert != no_expert) ++replicas_[expert];
    }
    for (std::size_t slot = 0; slot < now_.size(); ++slot) {
      if (now_[slot] != target_[slot]) open_.push_back(static_cast<std::int32_t>(slot));
    }
    std::vector<std::int32_t> equal(target.experts.size());
    set_equal_shares(target.experts, static_cast<int>(loads.size()), equal);
    split_ = std::ranges::equal(equal, target.shares) ? split_equally(loads, layout, now_, speeds)
                                                      : split_evenly(loads, layout, now_, speeds);
  }

  scaled_load fullest() const { return split_->fullest(); }
  bool done() const { return open_.empty(); }

  /// Makes the best step and says what it did.
  plan_step next() {
    std::optional<layer_split::merit> best;
    std::vector<slot_change> chosen;
    for (const std::int32_t slot : open_) {
      std::vector<slot_change> changes = step_with(slot);
      const layer_split::merit merit = split_->judge(changes);
      if (best && merit >= *best) continue;
      best = merit;
      chosen = std::move(changes);
    }
    return make(std::move(chosen));
  }

 private:
  /// The change of this slot and those it cannot go without, by slot. An expert that would lose its
  /// last replica gets its first open slot; one that comes to a rank leaves its old slot there.
  std::vector<slot_change> step_with(std::int32_t first) {
    std::vector<slot_change> changes;
    const auto add = [&](std::int32_t slot) {
      in_step_[slot] = 1;
      changes.push_back({slot, now_[slot], target_[slot]});
      if (now_[slot] != no_expert) --replicas_[now_[slot]];
      if (target_[slot] != no_expert) ++replicas_[target_[slot]];
    };
    add(first);
    for (std::size_t i = 0; i < changes.size(); ++i) {
      const slot_change change = changes[i];
      const int rank = layout_.rank_of(change.slot);
      for (const std::int32_t slot : open_) {
        if (in_step_[slot]) continue;
        const bool twice =
            change.to != no_expert && now_[slot] == change.to && layout_.rank_of(slot) == rank;
        const bool last =
            change.from != no_expert && replicas_[change.from] == 0 && target_[slot] == change.from;
        if (twice || last) add(slot);
      }
    }
    for (const slot_change& change : changes) {
      in_step_[change.slot] = 0;
      if (change.from != no_expert) ++replicas_[change.from];
      if (change.to != no_expert) --replicas_[change.to];
    }
    std::ranges::sort(changes, {}, &slot_change::slot);
    return changes;
  }

  plan_step make(std::vector<slot_change> changes) {
    plan_step step;
    step.max_before = split_->fullest();
    const std::vector<scaled_load> before = rank_loads();
    for (const slot_change& change : changes) {
      now_[change.slot] = change.to;
      if (change.from != no_expert) --replicas_[change.from];
      if (change.to != no_expert) ++replicas_[change.to];
      std::erase(open_, change.slot);
    }
    split_->make(changes);
    step.changes = std::move(changes);
    step.max_after = split_->fullest();
    note_relief(before, step);
    return step;
  }

  std::vector<scaled_load> rank_loads() const {
    std::vector<scaled_load> loads(static_cast<std::size_t>(layout_.ranks()));
    for (int rank = 0; rank < layout_.ranks(); ++rank) loads[rank] = split_->level(rank);
    return loads;
  }

  void note_relief(const std::vector<scaled_load>& before, plan_step& step) const {
    const std::vector<scaled_load> after = rank_loads();
    const scaled_load fullest = std::ranges::max(before);
    const scaled_load top = fullest - (fullest >> top_bits);
    scaled_load most = 0;
    for (int rank = 0; rank < layout_.ranks(); ++rank) {
      const scaled_load fall = before[rank] - after[rank];
      const bool is_top = before[rank] >= top;
      if (fall <= fullest >> top_bits || is_top < step.relieves_fullest) continue;
      if (is_top == step.relieves_fullest && fall <= most) continue;
      most = fall;
      step.relieves_fullest = is_top;
      step.relieved_rank = rank;
      step.relieved_before = before[rank];
      step.relieved_after = after[rank];
    }
  }

  const slot_layout& layout_;
  std::vector<std::int32_t> now_;  // [slots]
  std::span<const std::int32_t> target_;
  std::vector<std::int32_t> replicas_;  // [experts] of now_
  std::vector<std::int32_t> open_;      // slots that differ from the target, ascending
  std::vector<std::uint8_t> in_step_;   // [slots]
  std::unique_ptr<layer_split> split_;
};

}  // namespace

layer_explanation explain_layer(std::span<const std::int64_t> loads, const slot_layout& layout,
                                const layer_slots& current, const layer_slots& target,
                                const speed_scale& speeds) {
  layer_explanation explained;
  explained.max_before = fullest_rank_load(loads, current.experts, current.shares, layout, speeds);
  explained.max_after = fullest_rank_load(loads, target.experts, target.shares, layout, speeds);
  greedy_order order(loads, layout, current, target, speeds);
  explained.max_reshared = order.fullest();
  while (!order.done()) explained.steps.push_back(order.next());
  return explained;
}

}  // namespace ballast
