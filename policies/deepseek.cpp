#include "policies/deepseek.hpp"

#include <algorithm>
#include <numeric>

#include "policies/units.hpp"

namespace ballast {

namespace {

std::uint64_t sum_of(std::span<const std::int64_t> loads) {
  return static_cast<std::uint64_t>(std::accumulate(loads.begin(), loads.end(), std::int64_t{0}));
}

}  // namespace

deepseek_planner::deepseek_planner(deepseek_shape shape) : shape_(std::move(shape)) {
  const auto experts = static_cast<std::size_t>(shape_.experts);
  node_loads_.resize(experts);
  by_load_.resize(experts);
  for (std::int32_t i = 0; i < shape_.experts; ++i) {
    node_of_.push_back(i / (shape_.experts / shape_.nodes));
  }
  // The published rules know no rank without slots: they plan for the others alone.
  for (std::size_t rank = 0; rank < shape_.capacity.size(); ++rank) {
    if (shape_.compatible && shape_.capacity[rank] == 0) continue;
    ranks_.push_back(static_cast<std::int32_t>(rank));
    capacity_.push_back(shape_.capacity[rank]);
  }
}

void deepseek_planner::plan_layer(std::span<const std::int64_t> loads, const slot_layout& layout,
                                  std::span<std::int32_t> expert_of_slot,
                                  std::span<std::int32_t> replica_of_slot) {
  std::fill(expert_of_slot.begin(), expert_of_slot.end(), no_expert);
  std::fill(replica_of_slot.begin(), replica_of_slot.end(), 0);
  first_slot_.clear();
  for (const std::int32_t rank : ranks_) first_slot_.push_back(layout.first(rank));
  const std::span<const std::int32_t> capacity = capacity_;
  if (shape_.groups == 1) {
    plan_node(loads, sorter_.sort(loads), capacity, first_slot_, expert_of_slot, replica_of_slot);
    return;
  }
  groups_.deal(loads, shape_.groups, shape_.nodes, true);
  const std::span<const std::int32_t> order = groups_.experts();
  for (std::size_t i = 0; i < order.size(); ++i) node_loads_[i] = loads[order[i]];
  order_by_node(sorter_.sort(node_loads_));
  const std::size_t node_experts = loads.size() / static_cast<std::size_t>(shape_.nodes);
  const std::size_t node_ranks = capacity.size() / static_cast<std::size_t>(shape_.nodes);
  for (int node = 0; node < shape_.nodes; ++node) {
    const std::size_t rank = node * node_ranks;
    const std::size_t expert = node * node_experts;
    plan_node(std::span(node_loads_).subspan(expert, node_experts),
              std::span(by_load_).subspan(expert, node_experts), capacity.subspan(rank, node_ranks),
              std::span(first_slot_).subspan(rank, node_ranks), expert_of_slot, replica_of_slot);
    // From the node's own numbers back to the experts'.
    const std::size_t last_rank = rank + node_ranks - 1;
    for (int slot = first_slot_[rank]; slot < layout.first(static_cast<int>(last_rank) + 1);
         ++slot) {
      if (expert_of_slot[slot] == no_expert) continue;
      expert_of_slot[slot] = order[expert + expert_of_slot[slot]];
    }
  }
}

/// One sort for all nodes; each takes its own experts from it.
void deepseek_planner::order_by_node(std::span<const std::int32_t> by_load) {
  const std::int32_t node_experts = shape_.experts / shape_.nodes;
  listed_.resize(static_cast<std::size_t>(shape_.nodes));
  for (std::int32_t node = 0; node < shape_.nodes; ++node) listed_[node] = node * node_experts;
  for (const std::int32_t i : by_load) {
    const std::int32_t node = node_of_[i];
    by_load_[listed_[node]++] = i - node * node_experts;
  }
}

void deepseek_planner::plan_node(std::span<const std::int64_t> loads,
                                 std::span<const std::int32_t> by_load,
                                 std::span<const std::int32_t> capacity,
                                 std::span<const std::int32_t> first_slot,
                                 std::span<std::int32_t> expert_of_slot,
                                 std::span<std::int32_t> replica_of_slot) {
  if (shape_.compatible) {
    replicas_.choose(loads, by_load, capacity);
  } else {
    replicas_.choose_apart(loads, by_load, capacity);
  }
  const unit_scale scale(sum_of(loads), rank_packer::unit_bits(static_cast<int>(capacity.size())));
  units_.resize(loads.size());
  for (std::size_t expert = 0; expert < loads.size(); ++expert) {
    units_[expert] = scale.unit(loads[expert], 1);
  }
  for (const std::int32_t expert : replicas_.grown()) {
    units_[expert] = scale.unit(loads[expert], replicas_.counts()[expert]);
  }
  if (!shape_.compatible) {
    apart_.pack(capacity, first_slot, replicas_.by_weight(), replicas_.counts(), units_,
                expert_of_slot);
    return;
  }
  packer_.start(capacity, first_slot, expert_of_slot);
  pack_as_published(first_slot, capacity[0] == 1, expert_of_slot, replica_of_slot);
}

void deepseek_planner::pack_as_published(std::span<const std::int32_t> first_slot,
                                         bool one_per_rank, std::span<std::int32_t> expert_of_slot,
                                         std::span<std::int32_t> replica_of_slot) {
  number_extras();
  if (one_per_rank) {
    const auto experts = static_cast<std::int32_t>(replicas_.counts().size());
    items_.clear();
    for (std::int32_t expert = 0; expert < experts; ++expert) items_.push_back({expert, 0});
    for (std::size_t i = 0; i < extra_replica_.size(); ++i) {
      items_.push_back({replicas_.extras()[i], extra_replica_[i]});
    }
  } else {
    order_published_items();
  }
  for (std::size_t i = 0; i < items_.size(); ++i) {
    const item& next = items_[i];
    const std::int32_t slot =
        one_per_rank ? first_slot[i] : packer_.add(next.expert, units_[next.expert]);
    expert_of_slot[slot] = next.expert;
    if (!replica_of_slot.empty()) replica_of_slot[slot] = next.replica;
  }
}

/// For each expert a list of its extras in order of creation.
void deepseek_planner::number_extras() {
  const auto extras = replicas_.extras();
  extra_first_.assign(replicas_.counts().size(), -1);
  extra_last_.assign(replicas_.counts().size(), -1);
  extra_next_.assign(extras.size(), -1);
  extra_replica_.assign(extras.size(), 1);
  for (std::size_t i = 0; i < extras.size(); ++i) {
    const auto number = static_cast<std::int32_t>(i);
    std::int32_t& last = extra_last_[extras[i]];
    if (last < 0) {
      extra_first_[extras[i]] = number;
    } else {
      extra_next_[last] = number;
      extra_replica_[i] = extra_replica_[last] + 1;
    }
    last = number;
  }
}

/// The items by weight, then by their published number, which is the expert for a first replica and
/// follows the order of creation for the others. Experts of equal weight form a run: first their
/// first replicas, then their extras.
void deepseek_planner::order_published_items() {
  const auto extras = replicas_.extras();
  const auto by_weight = replicas_.by_weight();
  items_.clear();
  for (std::size_t first = 0, next = 0; first < by_weight.size(); first = next) {
    run_extras_.clear();
    for (; next < by_weight.size() && replicas_.compare(by_weight[first], by_weight[next]) == 0;
         ++next) {
      items_.push_back({by_weight[next], 0});
      for (std::int32_t i = extra_first_[by_weight[next]]; i >= 0; i = extra_next_[i]) {
        run_extras_.push_back(i);
      }
    }
    if (next - first > 1) std::sort(run_extras_.begin(), run_extras_.end());
    for (const std::int32_t i : run_extras_) items_.push_back({extras[i], extra_replica_[i]});
  }
}

}  // namespace ballast
