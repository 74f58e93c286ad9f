#pragma once
// Which replica counts can be placed with no two replicas of an expert on a rank.

#include <cstdint>
#include <span>
#include <vector>

namespace ballast {

/// Watches counts grow one by one, all from 1.
///
/// By the theorem of Gale and Ryser counts c1 >= c2 >= ... fit ranks of r_1, r_2, ... slots exactly
/// if for every j the j largest counts sum to at most F(j) = sum over ranks of min(slots, j).
/// Giving expert e, of count c, one more adds 1 to the sum of the j largest for every j >=
/// position, where position - 1 experts have more than c. So it is enough to know the largest j
/// whose slack is used up. Beyond the largest rank's slots F is the total, which the caller does
/// not exceed. Counts that fit form a polymatroid: an expert that may not grow now may not grow
/// later.
class spread_rule {
 public:
  /// `capacity`: [ranks] slots, of which a rank can use at most `experts`.
  spread_rule(std::span<const std::int32_t> capacity, int experts);

  /// The slots that can be used.
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
  int tight_ = 0;
  std::vector<std::int32_t> more_than_;  // [count] experts with more replicas than that
  std::vector<std::int64_t> slack_;      // [j] F(j) less the sum of the j largest counts
};

}  // namespace ballast
