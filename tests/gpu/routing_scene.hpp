#pragma once
// Random ids, tables and places for the tests and the benchmark of record and route.

#include <cstdint>
#include <limits>
#include <numeric>
#include <random>
#include <vector>

#include "kernels/route.hpp"

namespace ballast {

/// Tables of one layer on the host.
struct layer_tables {
  std::vector<std::int32_t> first, slot, share_end;

  route_tables get() const {
    return {static_cast<std::int32_t>(first.size()) - 1, first.data(), slot.data(),
            share_end.data()};
  }
};

/// Slots are dealt to random experts; with `all_hosted` (slots >= experts) every expert has one at
/// least.
inline layer_tables random_tables(int experts, int slots, bool all_hosted,
                                  std::mt19937_64& random) {
  std::vector<std::vector<std::int32_t>> held(experts);
  for (int s = 0; s < slots; ++s)
    held[all_hosted && s < experts ? s : random() % experts].push_back(s);
  layer_tables tables{{0}, {}, {}};
  for (const auto& slots_of_expert : held) {
    std::int32_t end = 0;
    for (std::size_t k = 0; k < slots_of_expert.size(); ++k) {
      const bool last = k + 1 == slots_of_expert.size();
      end = last ? 65536 : end + static_cast<std::int32_t>(random() % (65537 - end));
      tables.slot.push_back(slots_of_expert[k]);
      tables.share_end.push_back(end);
    }
    tables.first.push_back(static_cast<std::int32_t>(tables.slot.size()));
  }
  return tables;
}

/// Ids in range, but for every `odd_every`-th on average: those are -1 or out of range. 0: all are
/// in range.
template <typename Id>
std::vector<Id> random_ids(std::size_t n, int experts, int odd_every, std::mt19937_64& random) {
  using limits = std::numeric_limits<Id>;
  const Id odd[] = {-1,
                    -1,
                    -2,
                    static_cast<Id>(experts),
                    static_cast<Id>(experts + 1),
                    limits::max(),
                    limits::min(),
                    static_cast<Id>(limits::min() + 1)};
  std::vector<Id> ids(n);
  for (Id& id : ids) {
    const bool is_odd = odd_every > 0 && random() % odd_every == 0;
    id = is_odd ? odd[random() % std::size(odd)] : static_cast<Id>(random() % experts);
  }
  return ids;
}

}  // namespace ballast
