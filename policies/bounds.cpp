// Lower bounds by counting. Let G ranks have S slots each, N = G * S, and let expert e of load w be
// split over c replicas; set_equal_shares gives each floor(65536 / c) or one more of w / 65536, and
// at least one of them the larger where c does not divide. Loads here are in 1/65536 token. If no
// rank carried more than T:
//
// (b) Replica. Every replica is at most T, so e needs b = min {c: w * ceil(65536 / c) <= T}, and
// the sum of b is at most N.
//
// (c) Pigeonhole, k = 1..S-1. A rank holds at most k replicas heavier than T / (k + 1), so there
// are at most k * G of them. Expert e, having c >= b, has c such replicas unless c is at least
// q = min {c: w * floor(65536 / c) <= T / (k + 1)}. So spare replicas, N less the sum of b, are to
// be spent: q - b of them take b heavy replicas away. The fractional knapsack over-estimates how
// many that can be.
//
// (d) Fill, all slots occupied. The replicas of the a hottest experts A are on at most
// M = min(G, N less the others' b) ranks. On m ranks that hold them all there are at least
// m * S - a - (N - E) other experts whole (j replicas with x extras among them contain j - x
// experts with all their replicas), which weigh at least what the lightest ones do. So m * T is at
// least w(A) and those, for some m <= M.
//
// (e) Partners, all slots occupied. Every replica has S - 1 partners, each at least the lightest
// possible replica, which raises b. And for x <= T / 2 the replicas heavier than T - x are on
// different ranks, with S - 1 partners lighter than x each: there are at least S - 1 times as many
// replicas below x as above T - x. The fractional knapsack over-estimates what spending spare
// replicas can do for that.
//
// A T that violates one of them is impossible, so the fullest rank carries at least T + 1.

#include <algorithm>
#include <bit>
#include <functional>
#include <vector>

#include "policies/balance.hpp"

namespace ballast {

namespace {

__extension__ typedef unsigned __int128 uint128;

constexpr std::int64_t one = share_one;

/// An offer to spend replicas.
struct trade {
  std::int64_t cost = 0;
  std::int64_t gain = 0;
};

bool better(const trade& a, const trade& b) {  // gain per cost; both below 2^40
  return static_cast<uint128>(a.gain) * static_cast<std::uint64_t>(b.cost) >
         static_cast<uint128>(b.gain) * static_cast<std::uint64_t>(a.cost);
}

/// The most that `budget` can gain if trades could be done in part, rounded down. What is left of
/// the budget when no trade is, is returned in `budget`. Sorts the trades.
std::int64_t fractional_gain(std::vector<trade>& trades, std::int64_t& budget) {
  std::sort(trades.begin(), trades.end(), better);
  std::int64_t gain = 0;
  for (const trade& next : trades) {
    if (next.cost > budget) {
      gain += static_cast<std::int64_t>(static_cast<uint128>(budget) *
                                        static_cast<std::uint64_t>(next.gain) /
                                        static_cast<std::uint64_t>(next.cost));
      budget = 0;
      break;
    }
    budget -= next.cost;
    gain += next.gain;
  }
  return gain;
}

/// Least c with load * ceil(65536 / c) <= limit, 65536 or more if there is none.
std::int64_t replicas_to_fit(std::int64_t load, std::int64_t limit) {
  if (load == 0) return 1;
  const std::int64_t share = limit / load;  // ceil(65536 / c) <= share
  if (share >= one) return 1;
  return share < 1 ? 2 * one : (one + share - 1) / share;
}

/// Least c with load * floor(65536 / c) <= limit.
std::int64_t replicas_to_shrink(std::int64_t load, std::int64_t limit) {
  if (load == 0) return 1;
  const std::int64_t share = limit / load;  // 65536 / c < share + 1
  return share >= one ? 1 : one / (share + 1) + 1;
}

std::int64_t lightest_replica(std::int64_t load, std::int64_t count) {
  return load * (one / count);
}

/// Tests values of T for one layer. Loads sum to less than 2^42, so nine times all in 1/65536 fits
/// 62 bits.
class impossibility {
 public:
  impossibility(std::vector<std::int64_t> hottest_first, const bound_shape& shape)
      : loads_(std::move(hottest_first)),
        shape_(shape),
        ranks_(shape.ranks),
        row_(shape.slots_per_rank),
        slots_(ranks_ * row_),
        needed_(loads_.size()) {
    light_sum_.push_back(0);
    for (auto load = loads_.rbegin(); load != loads_.rend(); ++load) {
      light_sum_.push_back(light_sum_.back() + *load);
    }
  }

  bool proven(std::int64_t limit) {
    if (!fits(limit)) return true;
    if (shape_.filled && row_ > 1 && !fits_with_partners(limit)) return true;
    if (pigeonhole(limit)) return true;
    if (!shape_.filled) return false;
    return (row_ >= 2 && row_ <= 4 && partners(limit)) || fill(limit);
  }

 private:
  std::int64_t experts() const { return static_cast<std::int64_t>(loads_.size()); }

  /// (b). Sets needed_ and spare_.
  bool fits(std::int64_t limit) {
    std::int64_t sum = 0;
    for (std::size_t i = 0; i < loads_.size(); ++i) {
      needed_[i] = replicas_to_fit(loads_[i], limit);
      sum += needed_[i];
    }
    spare_ = slots_ - sum;
    return spare_ >= 0;
  }

  /// (e), first half. Raises needed_; a few rounds, as each makes the lightest replica heavier.
  bool fits_with_partners(std::int64_t limit) {
    for (int round = 0; round < 4; ++round) {
      std::int64_t lightest = limit;
      for (std::size_t i = 0; i < loads_.size(); ++i) {
        lightest = std::min(lightest, lightest_replica(loads_[i], needed_[i] + spare_));
      }
      if (lightest == 0) return true;
      const uint128 partners =
          static_cast<uint128>(lightest) * static_cast<std::uint64_t>(row_ - 1);
      if (partners > static_cast<uint128>(limit)) return false;
      const std::int64_t room = limit - static_cast<std::int64_t>(partners);
      bool raised = false;
      std::int64_t sum = 0;
      for (std::size_t i = 0; i < loads_.size(); ++i) {
        const std::int64_t needed = replicas_to_fit(loads_[i], room);
        raised = raised || needed > needed_[i];
        needed_[i] = std::max(needed_[i], needed);
        sum += needed_[i];
      }
      spare_ = slots_ - sum;
      if (spare_ < 0) return false;
      if (!raised) break;
    }
    return true;
  }

  /// (c).
  bool pigeonhole(std::int64_t limit) {
    for (std::int64_t k = 1; k < row_; ++k) {
      const std::int64_t heavy = limit / (k + 1);
      trades_.clear();
      std::int64_t count = 0;
      std::int64_t cost = 0;
      for (std::size_t i = 0; i < loads_.size() && loads_[i] * one > heavy; ++i) {
        if (lightest_replica(loads_[i], needed_[i]) <= heavy) continue;
        count += needed_[i];
        trades_.push_back({replicas_to_shrink(loads_[i], heavy) - needed_[i], needed_[i]});
        cost += trades_.back().cost;
      }
      if (trades_.empty()) break;
      if (count <= k * ranks_ || cost <= spare_) continue;
      std::int64_t budget = spare_;
      if (count - fractional_gain(trades_, budget) > k * ranks_) return true;
    }
    return false;
  }

  /// (e), second half, with the load of the j-th lightest expert as x.
  bool partners(std::int64_t limit) {
    std::int64_t previous = 0;
    for (std::int64_t j = 0; j < std::min<std::int64_t>(experts(), 129);
         j += std::max<std::int64_t>(1, j / 4)) {
      const std::int64_t light = loads_[static_cast<std::size_t>(experts() - 1 - j)] * one;
      if (light > limit / 2) break;
      if (light == previous) continue;  // 0 tells nothing
      previous = light;
      if (lacks_partners(light, limit - light)) return true;
    }
    return false;
  }

  /// Whether, at best, replicas below `light` are fewer than S - 1 times those above `heavy`.
  bool lacks_partners(std::int64_t light, std::int64_t heavy) {
    trades_.clear();
    std::int64_t value = 0;
    bool any_heavy = false;
    for (std::size_t i = 0; i < loads_.size(); ++i) {
      const std::int64_t count = needed_[i];
      const std::int64_t replica = lightest_replica(loads_[i], count);
      if (replica < light) {
        value += count;
        continue;
      }
      const std::int64_t all_light = std::max(count, replicas_to_shrink(loads_[i], light - 1));
      if (replica <= heavy) {
        offer({all_light - count, all_light});
        continue;
      }
      any_heavy = true;
      value -= (row_ - 1) * count;
      const std::int64_t not_heavy = replicas_to_shrink(loads_[i], heavy);
      if (not_heavy >= all_light) {
        offer({not_heavy - count, not_heavy + (row_ - 1) * count});
        continue;
      }
      const trade first = {not_heavy - count, (row_ - 1) * count};
      const trade second = {all_light - not_heavy, all_light};
      if (better(second, first)) {  // the concave envelope of the two steps is one
        offer({first.cost + second.cost, first.gain + second.gain});
      } else {
        offer(first);
        offer(second);
      }
    }
    if (!any_heavy) return false;
    std::int64_t budget = spare_;
    value += fractional_gain(trades_, budget);
    return value + budget < 0;
  }

  /// Trades that gain no more than they cost are left to the tail: any spare replica can be a light
  /// one.
  void offer(const trade& next) {
    if (next.gain > next.cost) trades_.push_back(next);
  }

  /// (d).
  bool fill(std::int64_t limit) {
    const std::int64_t extra = slots_ - experts();
    const std::int64_t most = std::min<std::int64_t>(experts(), extra < ranks_ ? 128 : 32);
    std::int64_t others = slots_ - spare_;  // replicas that the experts outside A need
    std::int64_t hottest = 0;
    for (std::int64_t a = 1; a <= most; ++a) {
      others -= needed_[static_cast<std::size_t>(a - 1)];
      hottest += loads_[static_cast<std::size_t>(a - 1)];
      const std::int64_t hosts = std::min(ranks_, slots_ - others);
      if (hosts >= ranks_) continue;
      bool possible = false;
      for (std::int64_t m = hosts; m >= 1 && !possible; --m) {
        const std::int64_t whole = std::clamp<std::int64_t>(m * row_ - extra - a, 0, experts() - a);
        const std::int64_t need = (hottest + light_sum_[static_cast<std::size_t>(whole)]) * one;
        possible = static_cast<uint128>(need) <=
                   static_cast<uint128>(limit) * static_cast<std::uint64_t>(m);
      }
      if (!possible) return true;
    }
    return false;
  }

  std::vector<std::int64_t> loads_;      // descending
  std::vector<std::int64_t> light_sum_;  // [n] load of the n lightest
  bound_shape shape_;
  std::int64_t ranks_, row_, slots_;
  std::vector<std::int64_t> needed_;  // b of each expert
  std::int64_t spare_ = 0;            // slots beyond the sum of b
  std::vector<trade> trades_;
};

/// The smallest possible largest replica. Giving the next slot to the expert whose largest replica
/// is largest is optimal: any other choice leaves that replica as it is.
std::int64_t smallest_largest_replica(const std::vector<std::int64_t>& hottest_first,
                                      std::int64_t slots) {
  struct entry {
    std::int64_t largest, load, count;
  };
  const auto smaller = [](const entry& a, const entry& b) { return a.largest < b.largest; };
  std::vector<entry> heap;
  for (const std::int64_t load : hottest_first) heap.push_back({load * one, load, 1});
  for (std::int64_t extra = slots - static_cast<std::int64_t>(heap.size()); extra > 0; --extra) {
    std::pop_heap(heap.begin(), heap.end(), smaller);
    entry& top = heap.back();
    if (top.count == one) break;  // no share is smaller
    ++top.count;
    top.largest = top.load * ((one + top.count - 1) / top.count);
    std::push_heap(heap.begin(), heap.end(), smaller);
  }
  return std::max_element(heap.begin(), heap.end(), smaller)->largest;
}

std::int64_t larger_by(std::int64_t value, std::int64_t ten_thousandths) {
  return value + static_cast<std::int64_t>(static_cast<uint128>(value) *
                                           static_cast<std::uint64_t>(ten_thousandths) / 10000);
}

/// One above the largest T found impossible, at least `floor`: gallop up from it, then bisect to
/// 1e-4.
std::int64_t raised(std::int64_t floor, impossibility& test) {
  if (!test.proven(floor)) return floor;
  std::int64_t step = 100;
  std::int64_t low = floor;
  while (step <= 40000 && test.proven(larger_by(floor, step))) {
    low = larger_by(floor, step);
    step *= 2;
  }
  std::int64_t high = larger_by(floor, step);
  while (high - low > low / 10000 && high - low > 1) {
    const std::int64_t middle = low + (high - low) / 2;
    (test.proven(middle) ? low : high) = middle;
  }
  return low + 1;
}

}  // namespace

scaled_load bound_with_equal_shares(std::span<const std::int64_t> loads, const bound_shape& shape) {
  const std::int64_t slots = static_cast<std::int64_t>(shape.ranks) * shape.slots_per_rank;
  const scaled_load free_bound = bound_with_free_shares(loads, {shape.ranks, slots, {}});
  std::vector<std::int64_t> hottest(loads.begin(), loads.end());
  std::sort(hottest.begin(), hottest.end(), std::greater<>());
  std::uint64_t total = 0;
  for (const std::int64_t load : hottest) total += static_cast<std::uint64_t>(load);
  // Smaller loads make no rank fuller, so a bound for loads rounded down holds for the loads.
  const int shift = std::max(0, static_cast<int>(std::bit_width(total)) - 42);
  for (std::int64_t& load : hottest) load >>= shift;

  std::int64_t floor = static_cast<std::int64_t>(free_bound >> shift);
  floor = std::max(floor, smallest_largest_replica(hottest, slots));
  if (floor == 0) return free_bound;
  impossibility test(std::move(hottest), shape);
  return std::max(free_bound, static_cast<scaled_load>(raised(floor, test)) << shift);
}

}  // namespace ballast
