#pragma once
// Loads of a made-up model: skewed, different in every layer, drifting, and the same in all at any
// number of ranks.

#include <cstdint>
#include <vector>

namespace ballast {

/// Tokens of all ranks together: [layers, experts] of one step.
std::vector<std::int64_t> made_up_loads(std::uint64_t seed, std::int64_t step, int layers,
                                        int experts);

/// What one rank records of `count` tokens; the parts of all ranks sum to it.
std::int64_t part_of(std::int64_t count, std::int64_t salt, int rank, int ranks);

}  // namespace ballast
