#pragma once
// Puts the transfers of one batch into rounds, in each of which a rank sends to at most one peer
// and receives from at most one.

#include <cstdint>
#include <span>

namespace ballast::scheduling {

/// One move as the rounds see it.
struct transfer {
  std::int32_t source_rank = 0;
  std::int32_t target_rank = 0;
  std::int32_t forwards =
      -1;  ///< index of an earlier transfer of the span, whose arrival this one reads; -1: none
  std::int32_t round = 0;  ///< result
};

/// Sets every `round` and returns how many rounds there are. Transfers between the same two ranks
/// may share a round; transfers inside a rank are bound to none, they only follow what they
/// forward. Without forwards the rounds are as few as possible: as many as the busiest rank has
/// peers to send to or to receive from.
std::int32_t assign_rounds(std::span<transfer> transfers, int ranks);

}  // namespace ballast::scheduling
