#include "policies/flow_groups.hpp"

#include <algorithm>
#include <numeric>

#include "policies/balance.hpp"
#include "policies/count_search.hpp"
#include "policies/deepseek.hpp"
#include "policies/groups.hpp"

namespace ballast {

group_homes::group_homes(int experts, const group_shape& shape,
                         std::span<const std::int32_t> usable, const speed_scale& speeds)
    : shape_(shape),
      usable_(usable),
      speeds_(speeds),
      experts_(experts),
      members_(experts / shape.groups),
      ranks_per_node_(static_cast<int>(usable.size()) / shape.nodes),
      home_(static_cast<std::size_t>(shape.groups), 0) {}

void group_homes::read(const slot_layout& layout, std::span<const std::int32_t> slots) {
  if (!kept()) return;
  struct claim {
    std::int64_t replicas;
    std::int32_t group;
    std::int32_t node;
  };
  std::vector<claim> claims;
  for (std::int32_t group = 0; group < shape_.groups; ++group) {
    for (std::int32_t node = 0; node < shape_.nodes; ++node) claims.push_back({0, group, node});
  }
  for (std::int32_t slot = 0; slot < layout.slots(); ++slot) {
    if (slots[slot] == no_expert) continue;
    const int node = layout.rank_of(slot) / ranks_per_node_;
    ++claims[slots[slot] / members_ * shape_.nodes + node].replicas;
  }
  std::stable_sort(claims.begin(), claims.end(),
                   [](const claim& a, const claim& b) { return a.replicas > b.replicas; });
  std::vector<std::int32_t> room(static_cast<std::size_t>(shape_.nodes),
                                 shape_.groups / shape_.nodes);
  std::fill(home_.begin(), home_.end(), -1);
  for (const claim& next : claims) {
    if (home_[next.group] >= 0 || room[next.node] == 0) continue;
    home_[next.group] = next.node;
    --room[next.node];
  }
}

bool group_homes::local(const slot_layout& layout, std::span<const std::int32_t> slots) const {
  for (std::int32_t slot = 0; slot < layout.slots(); ++slot) {
    if (slots[slot] != no_expert && !allows(layout.rank_of(slot), slots[slot])) return false;
  }
  return true;
}

void group_homes::choose(std::span<const std::int64_t> loads) {
  if (!kept()) return;
  group_dealer dealer;
  dealer.deal(loads, shape_.groups, shape_.nodes, false);
  const int per_node = experts_ / shape_.nodes;
  for (std::size_t i = 0; i < dealer.experts().size(); ++i) {
    home_[dealer.experts()[i] / members_] = static_cast<std::int32_t>(i) / per_node;
  }
  improve(loads, shape_.groups * shape_.groups);
}

int group_homes::improve(std::span<const std::int64_t> loads, int most) {
  if (!kept()) return 0;
  std::vector<scaled_load> bounds;
  for (int node = 0; node < shape_.nodes; ++node) bounds.push_back(node_bound(loads, node));
  for (int swaps = 0; swaps < most; ++swaps) {
    const auto top =
        static_cast<int>(std::max_element(bounds.begin(), bounds.end()) - bounds.begin());
    scaled_load best = bounds[top];
    std::int32_t best_own = -1;
    std::int32_t best_other = -1;
    for (std::int32_t own = 0; own < shape_.groups; ++own) {
      if (home_[own] != top) continue;
      for (std::int32_t other = 0; other < shape_.groups; ++other) {
        const int node = home_[other];
        if (node == top) continue;
        std::swap(home_[own], home_[other]);
        const scaled_load after = std::max(node_bound(loads, top), node_bound(loads, node));
        std::swap(home_[own], home_[other]);
        if (after >= best) continue;
        best = after;
        best_own = own;
        best_other = other;
      }
    }
    if (best_own < 0) return swaps;
    const int node = home_[best_other];
    std::swap(home_[best_own], home_[best_other]);
    bounds[top] = node_bound(loads, top);
    bounds[node] = node_bound(loads, node);
  }
  return most;
}

scaled_load group_homes::bound(std::span<const std::int64_t> loads) const {
  scaled_load most = 0;
  for (int node = 0; node < shape_.nodes; ++node) most = std::max(most, node_bound(loads, node));
  return most;
}

std::vector<std::int32_t> group_homes::experts_of(int node) const {
  std::vector<std::int32_t> experts;
  for (std::int32_t expert = 0; expert < experts_; ++expert) {
    if (home_[expert / members_] == node) experts.push_back(expert);
  }
  return experts;
}

scaled_load group_homes::node_bound(std::span<const std::int64_t> loads, int node) const {
  std::vector<std::int64_t> held;
  for (const std::int32_t expert : experts_of(node)) held.push_back(loads[expert]);
  return bound_with_free_shares(
      held, hosts_among(usable_, speeds_, node * ranks_per_node_, (node + 1) * ranks_per_node_),
      speeds_);
}

void group_homes::place(std::span<const std::int64_t> loads, const slot_layout& layout,
                        std::int64_t enough, std::span<std::int32_t> slots) const {
  for (int node = 0; node < shape_.nodes; ++node) {
    const int first = node * ranks_per_node_;
    const std::vector<std::int32_t> experts = experts_of(node);
    std::vector<std::int64_t> held;
    for (const std::int32_t expert : experts) held.push_back(loads[expert]);
    std::vector<std::int32_t> counts;
    for (int rank = first; rank < first + ranks_per_node_; ++rank) {
      counts.push_back(layout.count(rank));
    }
    const auto usable = usable_.subspan(first, ranks_per_node_);
    const auto own = slots.subspan(layout.first(first),
                                   layout.first(first + ranks_per_node_) - layout.first(first));
    const slot_layout layout_here = slot_layout::ragged(counts);
    if (enough > 0) {
      count_search(usable).place(held, layout_here, enough, own);
    } else {
      deepseek_shape shape;
      shape.experts = static_cast<std::int32_t>(experts.size());
      shape.capacity.assign(usable.begin(), usable.end());
      deepseek_planner(std::move(shape)).plan_layer(held, layout_here, own);
    }
    for (std::int32_t& slot : own) slot = slot == no_expert ? no_expert : experts[slot];
  }
}

void group_homes::bring_home(std::span<const std::int64_t> loads, const slot_layout& layout,
                             std::span<std::int32_t> slots) const {
  const std::vector<std::int32_t> before(slots.begin(), slots.end());
  std::vector<std::int32_t> replicas(static_cast<std::size_t>(experts_), 0);
  for (const std::int32_t expert : before) {
    if (expert != no_expert) ++replicas[expert];
  }
  const auto heavier = [&](std::int32_t a, std::int32_t b) {
    const auto left = static_cast<scaled_load>(loads[a]) * replicas[b];
    const auto right = static_cast<scaled_load>(loads[b]) * replicas[a];
    return left != right ? left > right : a < b;
  };
  for (int node = 0; node < shape_.nodes; ++node) {
    const std::int32_t first = layout.first(node * ranks_per_node_);
    const std::int32_t last = layout.first((node + 1) * ranks_per_node_);
    std::vector<std::int32_t> open;  // slots that experts not at home leave
    for (std::int32_t slot = first; slot < last; ++slot) {
      if (before[slot] == no_expert || allows(layout.rank_of(slot), before[slot])) continue;
      open.push_back(slot);
      slots[slot] = no_expert;
    }
    std::stable_sort(open.begin(), open.end(),
                     [&](std::int32_t a, std::int32_t b) { return heavier(before[a], before[b]); });
    std::vector<std::int32_t> coming;
    for (const std::int32_t expert : experts_of(node)) {
      if (std::find(before.begin() + first, before.begin() + last, expert) ==
          before.begin() + last) {
        coming.push_back(expert);
      }
    }
    while (open.size() < coming.size()) {  // a replica beside others of its expert makes room
      std::int32_t lightest = -1;
      for (std::int32_t slot = first; slot < last; ++slot) {
        if (slots[slot] == no_expert) continue;
        if (std::count(slots.begin() + first, slots.begin() + last, slots[slot]) < 2) continue;
        if (lightest < 0 || heavier(slots[lightest], slots[slot])) lightest = slot;
      }
      if (lightest < 0) break;
      --replicas[slots[lightest]];
      slots[lightest] = no_expert;
      open.push_back(lightest);
    }
    for (const std::int32_t expert : coming) replicas[expert] = 1;
    while (!coming.empty() && coming.size() < open.size()) {  // spare slots to the heaviest
      const std::int32_t heaviest = *std::min_element(coming.begin(), coming.end(), heavier);
      if (replicas[heaviest] == ranks_per_node_) break;
      coming.push_back(heaviest);
      ++replicas[heaviest];
    }
    std::stable_sort(coming.begin(), coming.end(), heavier);
    for (const std::int32_t expert : coming) {
      for (const std::int32_t slot : open) {
        const int rank = layout.rank_of(slot);
        const auto own = slots.subspan(layout.first(rank), layout.count(rank));
        if (slots[slot] != no_expert || std::ranges::find(own, expert) != own.end()) continue;
        slots[slot] = expert;
        break;
      }
    }
  }
}

}  // namespace ballast
