#include "policies/replicas.hpp"

#include <algorithm>
#include <numeric>

#include "policies/spread_rule.hpp"

namespace ballast {

namespace {

__extension__ typedef unsigned __int128 uint128;

}  // namespace

void replica_chooser::choose(std::span<const std::int64_t> loads,
                             std::span<const std::int32_t> by_load,
                             std::span<const std::int32_t> capacity) {
  start(loads, by_load);
  const std::int64_t slots = std::accumulate(capacity.begin(), capacity.end(), std::int64_t{0});
  grow(slots - static_cast<std::int64_t>(loads.size()), [](std::int32_t) { return true; });
}

void replica_chooser::choose_apart(std::span<const std::int64_t> loads,
                                   std::span<const std::int32_t> by_load,
                                   std::span<const std::int32_t> capacity) {
  start(loads, by_load);
  spread_rule rule(capacity, static_cast<int>(loads.size()));
  grow(rule.total() - static_cast<std::int64_t>(loads.size()),
       [&](std::int32_t count) { return rule.grow(count); });
}

int replica_chooser::compare(std::int32_t a, std::int32_t b) const {
  const uint128 left = static_cast<uint128>(loads_[a]) * static_cast<std::uint32_t>(counts_[b]);
  const uint128 right = static_cast<uint128>(loads_[b]) * static_cast<std::uint32_t>(counts_[a]);
  return left < right ? -1 : left > right ? 1 : 0;
}

bool replica_chooser::before(std::int32_t a, std::int32_t b) const {
  const int order = compare(a, b);
  return order != 0 ? order > 0 : a < b;
}

void replica_chooser::start(std::span<const std::int64_t> loads,
                            std::span<const std::int32_t> by_load) {
  loads_ = loads;
  by_load_.assign(by_load.begin(), by_load.end());
  started_ = 0;
  counts_.assign(loads.size(), 1);
  extras_.clear();
  heap_.clear();
}

/// `by_load_` is a queue of the experts with one replica, the heap holds those with more; the
/// expert to grow is at the front of one of the two. One that may not grow leaves for good.
template <class MayGrow>
void replica_chooser::grow(std::int64_t extra, MayGrow&& may_grow) {
  const auto after = [this](std::int32_t a, std::int32_t b) { return before(b, a); };
  while (extra > 0 && (started_ < by_load_.size() || !heap_.empty())) {
    std::int32_t expert = -1;
    if (heap_.empty() || (started_ < by_load_.size() && before(by_load_[started_], heap_[0]))) {
      expert = by_load_[started_++];
    } else {
      std::pop_heap(heap_.begin(), heap_.end(), after);
      expert = heap_.back();
      heap_.pop_back();
    }
    if (!may_grow(counts_[expert])) continue;
    ++counts_[expert];
    extras_.push_back(expert);
    heap_.push_back(expert);
    std::push_heap(heap_.begin(), heap_.end(), after);
    --extra;
  }
  order_by_weight();
}

/// The experts that left the queue may have changed their weight; sorted anew, they are merged with
/// the rest.
void replica_chooser::order_by_weight() {
  const auto first = by_load_.begin();
  const auto middle = first + static_cast<std::ptrdiff_t>(started_);
  const auto order = [this](std::int32_t a, std::int32_t b) { return before(a, b); };
  std::sort(first, middle, order);
  by_weight_.resize(by_load_.size());
  std::merge(first, middle, middle, by_load_.end(), by_weight_.begin(), order);
}

}  // namespace ballast
