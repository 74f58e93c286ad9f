#include "policies/spread_rule.hpp"

#include <algorithm>

namespace ballast {

spread_rule::spread_rule(std::span<const std::int32_t> capacity, int experts) {
  int narrowest = 0;
  for (const std::int32_t slots : capacity) {
    if (slots < 1) continue;
    ++hosts_;
    const int used = std::min<int>(slots, experts);
    total_ += used;
    widest_ = std::max(widest_, used);
    narrowest = hosts_ == 1 ? used : std::min(narrowest, used);
  }
  // With equal slots S on G ranks the j largest sum to at most min(j * G, S * G) = F(j) as soon as
  // no count exceeds G and the total fits: nothing more to watch.
  if (narrowest == widest_) return;
  more_than_.assign(static_cast<std::size_t>(hosts_) + 1, 0);
  more_than_[0] = experts;
  slack_.assign(static_cast<std::size_t>(widest_) + 1, 0);
  for (int j = 1; j <= widest_; ++j) {
    for (const std::int32_t slots : capacity) slack_[j] += std::min<int>(slots, j);
    slack_[j] -= j;
    if (slack_[j] == 0) tight_ = j;
  }
}

}  // namespace ballast
