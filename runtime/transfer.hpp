#pragma once
// One expert's weights on their way, as one rank sees it: what the exchange hands to a transport.

#include <cstdint>

#include "runtime/expert_memory.hpp"

namespace ballast {

/// What one rank has to do for one move.
enum class operation_kind : std::uint8_t { send, receive, copy };

/// The message tag of a move; the tag after the last is the roll call's (mpi_handles.cpp).
inline int tag_of_move(std::int32_t move) { return move % 32767; }

struct transfer {
  operation_kind kind = operation_kind::copy;
  bool hashed = false;    ///< the hash of what arrives or is copied is wanted
  std::int32_t move = 0;  ///< index in the schedule, the same on both ranks
  std::int32_t peer = 0;  ///< rank, of send and receive
  std::int32_t layer = 0;
  weight_location source;  ///< of send and copy
  weight_location target;  ///< of receive and copy
  std::uint64_t hash = 0;  ///< out: of the bytes at the target, where wanted
};

}  // namespace ballast
