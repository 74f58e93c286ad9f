#pragma once
// This rank's part of a step's loads, as the ids that its router would have chosen.

#include <cstdint>
#include <span>
#include <vector>

namespace ballast {

/// How many of `count` tokens fall to this rank: count / ranks, and the rest one each to the ranks
/// that follow (layer + expert + step). Over all ranks the parts sum to count.
std::int64_t part_of_rank(std::int64_t count, std::int64_t salt, int rank, int ranks);

/// The ids of one layer and step: every expert as often as this rank's part says, in a fixed
/// shuffled order. `ids` is overwritten and keeps its capacity.
void make_ids(std::span<const std::int64_t> counts, int layer, std::int64_t step, int rank,
              int ranks, std::vector<std::int32_t>& ids);

}  // namespace ballast
