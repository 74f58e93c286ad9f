#include "jobs/replay/traffic.hpp"

#include <utility>

namespace ballast {

std::int64_t part_of_rank(std::int64_t count, std::int64_t salt, int rank, int ranks) {
  const std::int64_t rest = count % ranks;
  const std::int64_t distance = ((rank - salt) % ranks + ranks) % ranks;
  return count / ranks + (distance < rest);
}

void make_ids(std::span<const std::int64_t> counts, int layer, std::int64_t step, int rank,
              int ranks, std::vector<std::int32_t>& ids) {
  ids.clear();
  for (std::size_t e = 0; e < counts.size(); ++e) {
    const std::int64_t n =
        part_of_rank(counts[e], layer + static_cast<std::int64_t>(e) + step, rank, ranks);
    ids.insert(ids.end(), static_cast<std::size_t>(n), static_cast<std::int32_t>(e));
  }
  std::uint64_t state =
      (static_cast<std::uint64_t>(step) << 24) ^ (static_cast<std::uint64_t>(layer) << 12) ^ rank;
  for (std::size_t i = ids.size(); i > 1; --i) {
    state = state * 6364136223846793005ull + 1442695040888963407ull;
    const auto j = static_cast<std::size_t>(((state >> 32) * i) >> 32);
    std::swap(ids[i - 1], ids[j]);
  }
}

}  // namespace ballast
