#include "jobs/bench/plain_greedy.hpp"

#include <algorithm>
#include <queue>

namespace ballast::bench {

namespace {

struct replica {
  double load;
  std::int32_t expert;
};

struct rank_state {
  double load;
  std::int32_t rank;
};

std::vector<std::int32_t> replica_counts(std::span<const std::int64_t> loads, int slots) {
  const auto lighter = [](const replica& a, const replica& b) {
    return a.load < b.load || (a.load == b.load && a.expert > b.expert);
  };
  std::priority_queue<replica, std::vector<replica>, decltype(lighter)> queue(lighter);
  for (std::size_t expert = 0; expert < loads.size(); ++expert) {
    queue.push({static_cast<double>(loads[expert]), static_cast<std::int32_t>(expert)});
  }
  std::vector<std::int32_t> counts(loads.size(), 1);
  for (int extra = slots - static_cast<int>(loads.size()); extra > 0; --extra) {
    const std::int32_t expert = queue.top().expert;
    queue.pop();
    ++counts[expert];
    queue.push({static_cast<double>(loads[expert]) / counts[expert], expert});
  }
  return counts;
}

}  // namespace

std::vector<std::int32_t> plain_greedy(std::span<const std::int64_t> loads, int ranks,
                                       int slots_per_rank) {
  const std::vector<std::int32_t> counts = replica_counts(loads, ranks * slots_per_rank);
  std::vector<replica> replicas;
  for (std::size_t expert = 0; expert < loads.size(); ++expert) {
    for (int k = 0; k < counts[expert]; ++k) {
      replicas.push_back(
          {static_cast<double>(loads[expert]) / counts[expert], static_cast<std::int32_t>(expert)});
    }
  }
  std::sort(replicas.begin(), replicas.end(), [](const replica& a, const replica& b) {
    return a.load > b.load || (a.load == b.load && a.expert < b.expert);
  });
  const auto heavier = [](const rank_state& a, const rank_state& b) {
    return a.load > b.load || (a.load == b.load && a.rank > b.rank);
  };
  std::priority_queue<rank_state, std::vector<rank_state>, decltype(heavier)> queue(heavier);
  for (int rank = 0; rank < ranks; ++rank) queue.push({0.0, rank});
  std::vector<std::int32_t> held(static_cast<std::size_t>(ranks), 0);
  std::vector<std::int32_t> expert_of_slot(static_cast<std::size_t>(ranks) * slots_per_rank);
  for (const replica& next : replicas) {
    rank_state lightest = queue.top();
    queue.pop();
    expert_of_slot[lightest.rank * slots_per_rank + held[lightest.rank]++] = next.expert;
    lightest.load += next.load;
    if (held[lightest.rank] < slots_per_rank) queue.push(lightest);
  }
  return expert_of_slot;
}

std::vector<std::int32_t> plain_hierarchical_greedy(std::span<const std::int64_t> loads, int groups,
                                                    int nodes, int ranks, int slots_per_rank) {
  const std::size_t group_size = loads.size() / static_cast<std::size_t>(groups);
  std::vector<replica> heaviest_first;
  for (int group = 0; group < groups; ++group) {
    double load = 0;
    for (const std::int64_t l : loads.subspan(group * group_size, group_size))
      load += static_cast<double>(l);
    heaviest_first.push_back({load, group});
  }
  std::stable_sort(heaviest_first.begin(), heaviest_first.end(),
                   [](const replica& a, const replica& b) { return a.load > b.load; });
  std::vector<double> node_load(static_cast<std::size_t>(nodes), 0);
  std::vector<std::vector<std::int32_t>> experts_of_node(static_cast<std::size_t>(nodes));
  for (const replica& group : heaviest_first) {
    int best = -1;
    for (int node = 0; node < nodes; ++node) {
      const bool full =
          experts_of_node[node].size() == loads.size() / static_cast<std::size_t>(nodes);
      if (!full && (best < 0 || node_load[node] < node_load[best])) best = node;
    }
    node_load[best] += group.load;
    for (std::size_t k = 0; k < group_size; ++k) {
      experts_of_node[best].push_back(static_cast<std::int32_t>(group.expert * group_size + k));
    }
  }
  std::vector<std::int32_t> expert_of_slot;
  for (const std::vector<std::int32_t>& experts : experts_of_node) {
    std::vector<std::int64_t> node_loads;
    for (const std::int32_t expert : experts) node_loads.push_back(loads[expert]);
    for (const std::int32_t index : plain_greedy(node_loads, ranks / nodes, slots_per_rank)) {
      expert_of_slot.push_back(experts[index]);
    }
  }
  return expert_of_slot;
}

double plain_balance(std::span<const std::int64_t> loads,
                     std::span<const std::int32_t> expert_of_slot, int ranks) {
  std::vector<std::int32_t> counts(loads.size(), 0);
  for (const std::int32_t expert : expert_of_slot) {
    if (expert >= 0) ++counts[expert];
  }
  const std::size_t slots_per_rank = expert_of_slot.size() / static_cast<std::size_t>(ranks);
  double total = 0;
  double largest = 0;
  for (int rank = 0; rank < ranks; ++rank) {
    double load = 0;
    for (const std::int32_t expert :
         expert_of_slot.subspan(rank * slots_per_rank, slots_per_rank)) {
      if (expert >= 0) load += static_cast<double>(loads[expert]) / counts[expert];
    }
    total += load;
    largest = std::max(largest, load);
  }
  return largest > 0 ? total / ranks / largest : 1.0;
}

}  // namespace ballast::bench
