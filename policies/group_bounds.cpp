// Lower bounds where all replicas of a group are on one node and every node has G / N of the G
// groups. A node that holds a set of groups has a lower bound of its own, that of a layer of their
// experts alone; some dealing of the groups is the one whose highest node is lowest. With few
// groups all dealings are looked through, but for those that cannot be better than one found
// before. Otherwise:
//
// (g) Any node that holds group q hosts q and as many experts more, of no load at least.
//
// (p) Pigeonhole, j = 1..G/N. Of the N * (j - 1) + 1 heaviest groups j are on one node, together at
// least the j lightest of them, and beside them at least the G / N - j lightest of all.
//
// Nodes that differ are all taken for one that is nowhere worse than any of them.

#include <algorithm>
#include <bit>
#include <functional>
#include <map>
#include <numeric>
#include <optional>

#include "policies/balance.hpp"

namespace ballast {

namespace {

// With more sets of groups that a node may hold, or more dealings begun, a layer is left to (g) and
// (p): 8 groups on 4 nodes have 28 sets and 105 dealings, 16 on 8 have 120 and, but for the
// hopeless, 2 million.
constexpr std::int64_t sets_max = 512;
constexpr int visits_max = 2000;

/// How many sets of `size` out of `all` there are, or any number above `most`.
std::int64_t sets_of(std::int64_t all, std::int64_t size, std::int64_t most) {
  std::int64_t count = 1;
  for (std::int64_t i = 1; i <= std::min(size, all - size) && count <= most; ++i)
    count = count * (all - i + 1) / i;
  return count;
}

class dealing_search {
 public:
  dealing_search(std::span<const std::int64_t> loads, const grouped_hosts& hosts,
                 const speed_scale& speeds)
      : loads_(loads),
        hosts_(hosts),
        speeds_(speeds),
        members_(loads.size() / static_cast<std::size_t>(hosts.groups)),
        per_node_(hosts.groups / hosts.nodes),
        weight_(static_cast<std::size_t>(hosts.groups)) {
    for (std::size_t group = 0; group < weight_.size(); ++group) {
      for (const std::int64_t load : experts_of(group)) {
        weight_[group] += static_cast<scaled_load>(load) * share_one;
      }
      order_.push_back(static_cast<std::int32_t>(group));
    }
    std::ranges::stable_sort(order_, std::greater<>(), [&](std::int32_t g) { return weight_[g]; });
  }

  scaled_load bound() {
    scaled_load least = std::max(by_group(), by_pigeonhole());
    const bool few = hosts_.groups <= 64 && sets_of(hosts_.groups, per_node_, sets_max) <= sets_max;
    if (!few) return least;
    deal(0, 0);
    if (!given_up()) least = std::max(least, *best_);
    return least;
  }

 private:
  using group_set = std::uint64_t;

  std::span<const std::int64_t> experts_of(std::size_t group) const {
    return loads_.subspan(group * members_, members_);
  }
  bool given_up() const { return visits_ > visits_max; }
  bool hopeless(scaled_load bound) const { return best_ && bound >= *best_; }

  /// (g).
  scaled_load by_group() {
    scaled_load most = 0;
    std::vector<std::int64_t> held(members_ * static_cast<std::size_t>(per_node_), 0);
    for (std::size_t group = 0; group < weight_.size(); ++group) {
      std::ranges::copy(experts_of(group), held.begin());
      most = std::max(most, bound_with_free_shares(held, hosts_.node, speeds_));
    }
    return most;
  }

  /// (p).
  scaled_load by_pigeonhole() const {
    const std::int64_t speed =
        speeds_.uneven()
            ? std::accumulate(hosts_.node.speeds.begin(), hosts_.node.speeds.end(), std::int64_t{0})
            : hosts_.node.ranks;
    scaled_load most = 0;
    scaled_load light = 0;  // of the per_node_ - j lightest
    for (std::int32_t j = per_node_; j >= 1; --j) {
      const std::int32_t top = hosts_.nodes * (j - 1) + 1;
      scaled_load sum = light;
      for (std::int32_t i = top - j; i < top; ++i) sum += weight_[order_[i]];
      most =
          std::max(most, speeds_.uneven() ? speeds_.level(sum, speed) : (sum + speed - 1) / speed);
      light += weight_[order_[static_cast<std::size_t>(hosts_.groups - 1 - (per_node_ - j))]];
    }
    return most;
  }

  /// Deals the groups that are not in `dealt` to nodes, the heaviest first, where the highest node
  /// so far has the bound `highest`.
  void deal(group_set dealt, scaled_load highest) {
    ++visits_;
    if (given_up()) return;
    const int left = hosts_.groups - std::popcount(dealt);
    if (left == 0) {
      best_ = highest;
      return;
    }
    std::size_t heaviest = 0;
    while (has(dealt, order_[heaviest])) ++heaviest;
    join({dealt, highest}, with(0, order_[heaviest]), order_.size());
  }

  struct position {
    group_set dealt;
    scaled_load highest;
  };

  /// Completes one node's set by groups that come before `end` in the order, the lightest first.
  void join(const position& from, group_set node, std::size_t end) {
    if (given_up()) return;
    if (std::popcount(node) == per_node_) {
      if (hopeless(free_bound(node))) return;
      const scaled_load highest = std::max(from.highest, whole_bound(node));
      if (!hopeless(highest)) deal(from.dealt | node, highest);
      return;
    }
    for (std::size_t i = end; i-- > 0;) {
      if (!has(from.dealt | node, order_[i])) join(from, with(node, order_[i]), i);
    }
  }

  static bool has(group_set set, std::int32_t group) { return (set >> group & 1) != 0; }
  static group_set with(group_set set, std::int32_t group) { return set | group_set{1} << group; }

  const std::vector<std::int64_t>& loads_of(group_set node) {
    held_.clear();
    for (std::int32_t group = 0; group < hosts_.groups; ++group) {
      if (!has(node, group)) continue;
      const auto own = experts_of(static_cast<std::size_t>(group));
      held_.insert(held_.end(), own.begin(), own.end());
    }
    return held_;
  }

  scaled_load free_bound(group_set node) {
    const auto [known, fresh] = free_.try_emplace(node, 0);
    if (fresh) known->second = bound_with_free_shares(loads_of(node), hosts_.node, speeds_);
    return known->second;
  }

  scaled_load whole_bound(group_set node) {
    if (!hosts_.equal) return free_bound(node);
    const auto [known, fresh] = equal_.try_emplace(node, 0);
    if (fresh) known->second = bound_with_equal_shares(loads_of(node), *hosts_.equal);
    return known->second;
  }

  std::span<const std::int64_t> loads_;
  const grouped_hosts& hosts_;
  const speed_scale& speeds_;
  std::size_t members_;
  std::int32_t per_node_;
  std::vector<scaled_load> weight_;  // [groups]
  std::vector<std::int32_t> order_;  // [groups] heaviest first
  std::map<group_set, scaled_load> free_, equal_;
  std::vector<std::int64_t> held_;
  std::optional<scaled_load> best_;
  int visits_ = 0;
};

}  // namespace

scaled_load bound_with_groups(std::span<const std::int64_t> loads, const grouped_hosts& hosts,
                              const speed_scale& speeds) {
  return dealing_search(loads, hosts, speeds).bound();
}

}  // namespace ballast
