#include "policies/groups.hpp"

#include <algorithm>
#include <numeric>

#include "policies/units.hpp"

namespace ballast {

void group_dealer::deal(std::span<const std::int64_t> loads, std::int32_t groups,
                        std::int32_t nodes, bool single_in_order) {
  const std::size_t members = loads.size() / static_cast<std::size_t>(groups);
  const std::int32_t per_node = groups / nodes;
  group_of_place_.resize(static_cast<std::size_t>(groups));
  std::iota(group_of_place_.begin(), group_of_place_.end(), 0);
  if (per_node > 1 || !single_in_order) {
    group_loads_.resize(group_of_place_.size());
    std::int64_t total = 0;
    for (std::size_t group = 0; group < group_loads_.size(); ++group) {
      const auto held = loads.subspan(group * members, members);
      group_loads_[group] = std::accumulate(held.begin(), held.end(), std::int64_t{0});
      total += group_loads_[group];
    }
    order_ = group_of_place_;
    std::sort(order_.begin(), order_.end(), [&](std::int32_t a, std::int32_t b) {
      return group_loads_[a] != group_loads_[b] ? group_loads_[a] > group_loads_[b] : a < b;
    });
    capacity_.assign(static_cast<std::size_t>(nodes), per_node);
    first_.resize(capacity_.size());
    for (std::int32_t node = 0; node < nodes; ++node) first_[node] = node * per_node;
    const unit_scale scale(static_cast<std::uint64_t>(total), rank_packer::unit_bits(nodes));
    packer_.start(capacity_, first_, group_of_place_);
    for (const std::int32_t group : order_) packer_.add(group, scale.unit(group_loads_[group], 1));
  }
  experts_.clear();
  for (const std::int32_t group : group_of_place_) {
    for (std::size_t member = 0; member < members; ++member) {
      experts_.push_back(static_cast<std::int32_t>(group * members + member));
    }
  }
}

}  // namespace ballast
