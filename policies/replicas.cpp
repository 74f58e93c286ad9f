#include "policies/replicas.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <numeric>
#include <utility>

namespace ballast {

namespace {

__extension__ typedef unsigned __int128 uint128;

}  // namespace

/// Which replica counts can be placed with no two replicas on a rank. By the theorem of Gale and
/// Ryser counts c1 >= c2 >= ... fit ranks of r_1, r_2, ... slots exactly if for every j the j
/// largest counts sum to at most F(j) = sum over ranks of min(slots, j). Giving expert e, of count
/// c, one more adds 1 to the sum of the j largest for every j >= position, where position - 1
/// experts have more than c. So it is enough to know the largest j whose slack is used up. Beyond
/// the largest rank's slots F is the total, which the caller does not exceed. Counts that fit form
/// a polymatroid: an expert that may not grow now may not grow later.
class replica_chooser::spread_rule {
 public:
  spread_rule(std::span<const std::int32_t> capacity, int experts) {
    for (const std::int32_t slots : capacity) {
      if (slots < 1) continue;
      ++hosts_;
      const int used = std::min<int>(slots, experts);
      total_ += used;
      widest_ = std::max(widest_, used);
      narrowest_ = hosts_ == 1 ? used : std::min(narrowest_, used);
    }
    // With equal slots S on G ranks the j largest sum to at most min(j * G, S * G) = F(j) as soon
    // as no count exceeds G and the total fits: nothing more to watch.
    if (narrowest_ == widest_) return;
    more_than_.assign(static_cast<std::size_t>(hosts_) + 1, 0);
    more_than_[0] = experts;
    slack_.assign(static_cast<std::size_t>(widest_) + 1, 0);
    for (int j = 1; j <= widest_; ++j) {
      for (const std::int32_t slots : capacity) slack_[j] += std::min<int>(slots, j);
      slack_[j] -= j;
      if (slack_[j] == 0) tight_ = j;
    }
  }

  std::int64_t total() const { return total_; }

  /// Takes the step from `count` to count + 1 if it is possible.
  bool grow(std::int32_t count) {
    if (count >= hosts_) return false;
    if (slack_.empty()) return true;
    const int position = more_than_[count] + 1;
    if (position <= tight_) return false;
    ++more_than_[count];
    for (int j = position; j <= widest_; ++j) {
      if (--slack_[j] == 0) tight_ = j;
    }
    return true;
  }

 private:
  std::int64_t total_ = 0;
  int hosts_ = 0;
  int widest_ = 0;
  int narrowest_ = 0;
  int tight_ = 0;
  std::vector<std::int32_t> more_than_;  // [count] experts with more replicas than that
  std::vector<std::int64_t> slack_;      // [j] F(j) less the sum of the j largest counts
};

void replica_chooser::choose(std::span<const std::int64_t> loads,
                             std::span<const std::int32_t> capacity) {
  loads_ = loads;
  const std::int64_t slots = std::accumulate(capacity.begin(), capacity.end(), std::int64_t{0});
  grow(slots - static_cast<std::int64_t>(loads.size()), [](std::int32_t) { return true; });
}

void replica_chooser::choose_apart(std::span<const std::int64_t> loads,
                                   std::span<const std::int32_t> capacity) {
  loads_ = loads;
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

/// Radix sort of the indices, a byte of the load at a time, stable, so that equal loads stay in the
/// order of their indices. Only as many bytes as the largest load has.
void replica_chooser::sort_by_load() {
  const std::size_t experts = loads_.size();
  by_load_.resize(experts);
  scratch_.resize(experts);
  std::uint64_t any = 0;
  for (std::size_t i = 0; i < experts; ++i) {
    by_load_[i] = static_cast<std::int32_t>(i);
    any |= static_cast<std::uint64_t>(loads_[i]);
  }
  const int bits = static_cast<int>(std::bit_width(any));
  for (int low = 0; low < bits; low += 8) {
    std::array<std::uint32_t, 256> next{};
    const auto digit = [&](std::int32_t i) {
      return 255 - (static_cast<std::uint64_t>(loads_[i]) >> low & 255);  // descending
    };
    for (std::size_t i = 0; i < experts; ++i) ++next[digit(static_cast<std::int32_t>(i))];
    std::uint32_t sum = 0;
    for (std::uint32_t& place : next) sum += std::exchange(place, sum);
    for (const std::int32_t i : by_load_) scratch_[next[digit(i)]++] = i;
    by_load_.swap(scratch_);
  }
}

/// `by_load_` is a queue of the experts with one replica, the heap holds those with more; the
/// expert to grow is at the front of one of the two. One that may not grow leaves for good.
template <class MayGrow>
void replica_chooser::grow(std::int64_t extra, MayGrow&& may_grow) {
  sort_by_load();
  counts_.assign(loads_.size(), 1);
  extras_.clear();
  heap_.clear();
  const auto after = [this](std::int32_t a, std::int32_t b) { return before(b, a); };
  std::size_t started = 0;
  while (extra > 0 && (started < by_load_.size() || !heap_.empty())) {
    std::int32_t expert = -1;
    if (heap_.empty() || (started < by_load_.size() && before(by_load_[started], heap_[0]))) {
      expert = by_load_[started++];
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
  order_by_weight(started);
}

/// The first `started` experts of the queue may have changed their weight; sorted anew, they are
/// merged with the rest.
void replica_chooser::order_by_weight(std::size_t started) {
  const auto first = by_load_.begin();
  const auto middle = first + static_cast<std::ptrdiff_t>(started);
  const auto order = [this](std::int32_t a, std::int32_t b) { return before(a, b); };
  std::sort(first, middle, order);
  by_weight_.resize(by_load_.size());
  std::merge(first, middle, middle, by_load_.end(), by_weight_.begin(), order);
}

}  // namespace ballast
