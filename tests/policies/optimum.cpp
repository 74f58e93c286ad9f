#include "tests/policies/optimum.hpp"

#include <algorithm>
#include <bit>
#include <limits>
#include <numeric>

namespace ballast::testing {

namespace {

bool is_less(const fraction& a, const fraction& b) { return a.load * b.parts < b.load * a.parts; }

constexpr fraction none_yet = {std::numeric_limits<std::int32_t>::max(), 1};

/// All loads are multiplied by 840 = lcm(1..8), so that a replica of any of up to 8 is an integer.
constexpr std::int64_t scale = 840;

class equal_share_search {
 public:
  explicit equal_share_search(const small_layer& layer)
      : layer_(layer),
        counts_(layer.loads.size(), 1),
        loads_(static_cast<std::size_t>(layer.ranks), 0),
        taken_(static_cast<std::size_t>(layer.ranks), 0),
        held_(static_cast<std::size_t>(layer.ranks), 0) {
    order_.resize(layer.loads.size());
    std::iota(order_.begin(), order_.end(), 0);
    choose_counts(0, layer.ranks * layer.slots_per_rank);
  }

  std::int64_t best() const { return best_; }

 private:
  void choose_counts(std::size_t expert, int slots_left) {
    const int others = static_cast<int>(layer_.loads.size() - expert) - 1;
    if (others < 0) return pack_all();
    for (int count = 1; count <= std::min(layer_.ranks, slots_left - others); ++count) {
      if (layer_.loads[expert] * scale / count >= best_) continue;
      counts_[expert] = count;
      choose_counts(expert + 1, slots_left - count);
    }
  }

  std::int64_t size(int expert) const { return layer_.loads[expert] * scale / counts_[expert]; }

  void pack_all() {
    std::sort(order_.begin(), order_.end(),
              [&](int a, int b) { return size(a) != size(b) ? size(a) > size(b) : a < b; });
    pack(0, 0, 0);
  }

  /// Places replica after replica, large ones first; those of an expert on ascending ranks.
  void pack(std::size_t position, int replica, int first_rank) {
    if (position == order_.size()) {
      best_ = *std::max_element(loads_.begin(), loads_.end());
      return;
    }
    const int expert = order_[position];
    if (replica == counts_[expert]) return pack(position + 1, 0, 0);
    for (int rank = first_rank; rank < layer_.ranks; ++rank) {
      if (taken_[rank] == layer_.slots_per_rank || loads_[rank] + size(expert) >= best_) continue;
      if (is_twin_of_an_earlier(rank, first_rank)) continue;
      loads_[rank] += size(expert);
      ++taken_[rank];
      const std::uint64_t held = held_[rank];
      held_[rank] = held | std::uint64_t{1} << expert;
      pack(position, replica + 1, rank + 1);
      held_[rank] = held;
      --taken_[rank];
      loads_[rank] -= size(expert);
    }
  }

  /// Two ranks that hold the same experts are interchangeable.
  bool is_twin_of_an_earlier(int rank, int first_rank) const {
    for (int other = first_rank; other < rank; ++other) {
      if (held_[other] == held_[rank]) return true;
    }
    return false;
  }

  const small_layer& layer_;
  std::vector<int> counts_;
  std::vector<int> order_;
  std::vector<std::int64_t> loads_;
  std::vector<int> taken_;
  std::vector<std::uint64_t> held_;
  std::int64_t best_ = std::numeric_limits<std::int64_t>::max();
};

class free_share_search {
 public:
  free_share_search(const small_layer& layer, const host_sets* current, int arrivals)
      : layer_(layer),
        current_(current),
        room_(static_cast<std::size_t>(layer.ranks), layer.slots_per_rank),
        inside_(std::size_t{1} << layer.ranks, 0) {
    choose_hosts(0, 0, arrivals);
  }

  fraction best() const { return best_; }

 private:
  /// `used`: the ranks that hold something; without a current placement a rank is used for the
  /// first time only after the ranks before it.
  void choose_hosts(std::size_t expert, std::uint32_t used, int arrivals_left) {
    if (expert == layer_.loads.size()) {
      best_ = fullest();
      return;
    }
    for (std::uint32_t hosts = 1; hosts < inside_.size(); ++hosts) {
      if (!has_room(hosts)) continue;
      if (current_ == nullptr && !std::has_single_bit((used | hosts) + 1)) continue;
      const int arriving = current_ == nullptr ? 0 : std::popcount(hosts & ~(*current_)[expert]);
      if (arriving > arrivals_left) continue;
      add(hosts, layer_.loads[expert], -1);
      if (is_less(fullest(), best_))
        choose_hosts(expert + 1, used | hosts, arrivals_left - arriving);
      add(hosts, -layer_.loads[expert], +1);
    }
  }

  bool has_room(std::uint32_t hosts) const {
    for (int rank = 0; rank < layer_.ranks; ++rank) {
      if ((hosts >> rank & 1) != 0 && room_[rank] == 0) return false;
    }
    return true;
  }

  void add(std::uint32_t hosts, std::int64_t load, int room) {
    for (std::uint32_t set = hosts; set < inside_.size(); ++set) {
      if ((hosts & ~set) == 0) inside_[set] += load;
    }
    for (int rank = 0; rank < layer_.ranks; ++rank) {
      if ((hosts >> rank & 1) != 0) room_[rank] += room;
    }
  }

  fraction fullest() const {
    fraction most;
    for (std::uint32_t set = 1; set < inside_.size(); ++set) {
      const fraction here = {inside_[set], std::popcount(set)};
      if (is_less(most, here)) most = here;
    }
    return most;
  }

  const small_layer& layer_;
  const host_sets* current_;
  std::vector<int> room_;
  std::vector<std::int64_t> inside_;  // [sets of ranks] load that cannot leave the set
  fraction best_ = none_yet;
};

}  // namespace

fraction equal_share_optimum(const small_layer& layer) {
  return {equal_share_search(layer).best(), scale};
}

fraction free_share_optimum(const small_layer& layer) {
  return free_share_search(layer, nullptr, 0).best();
}

fraction free_share_optimum_within(const small_layer& layer, const host_sets& current,
                                   int arrivals) {
  return free_share_search(layer, &current, arrivals).best();
}

fraction free_share_maximum(const small_layer& layer, const host_sets& hosts) {
  fraction most;
  for (std::uint32_t set = 1; set < std::uint32_t{1} << layer.ranks; ++set) {
    fraction here = {0, std::popcount(set)};
    for (std::size_t expert = 0; expert < hosts.size(); ++expert) {
      if ((hosts[expert] & ~set) == 0) here.load += layer.loads[expert];
    }
    if (is_less(most, here)) most = here;
  }
  return most;
}

}  // namespace ballast::testing
