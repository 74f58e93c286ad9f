#pragma once
// Lag-D consensus: while an epoch is in flight every step posts one small MIN all-reduce of this
// rank's state and reads the one posted D steps before. All ranks see the same reduced word at the
// same step, so all take the same transition there; nothing is ever decided from a local test.

#include <mpi.h>

#include <array>
#include <cstdint>
#include <limits>
#include <vector>

namespace ballast {

inline constexpr std::uint64_t nothing = std::numeric_limits<std::uint64_t>::max();

/// One rank's word, or the minimum over all ranks. Plain uint64 fields, reduced as an array;
/// `not_x` is the complement of x, so that the minimum of both tells minimum and maximum.
struct vote {
  std::uint64_t generation = 0;     ///< which agreed transition the rank was at when it posted
  std::uint64_t progress = 0;       ///< what the rank has finished since then (balancer.hpp) << 32
                                    ///< | rank
  std::uint64_t trouble = nothing;  ///< trouble code << 32 | rank, or nothing
  std::uint64_t digest = nothing;
  std::uint64_t not_digest = nothing;
  std::uint64_t bad_move =
      nothing;  ///< index in the schedule of a move that arrived with a wrong hash
  std::uint64_t bad_source = nothing;  ///< 0: the source of the bad move itself fails its hash
  std::uint64_t step = 0;
  std::uint64_t not_step = nothing;

  /// What all ranks have finished.
  std::uint64_t finished() const { return progress >> 32; }
  /// The lowest of the ranks that have finished no more.
  int slowest() const { return static_cast<int>(progress & 0xffffffffu); }
};
inline constexpr int vote_words = sizeof(vote) / sizeof(std::uint64_t);

class votes {
 public:
  /// `comm` is not owned; once started it carries nothing else than votes, in the same order
  /// on all ranks.
  votes(MPI_Comm comm, int lag);

  /// Posts this rank's vote of `step`. The vote of step - lag must have been taken.
  void post(std::int64_t step, const vote& mine);

  /// Whether a vote was posted at step - lag.
  bool due(std::int64_t step) const;
  /// The request to wait for before take(); valid if due().
  MPI_Request& request(std::int64_t step) { return slot(step - lag_).request; }
  /// The reduced vote of step - lag, after its request has completed.
  vote take(std::int64_t step);

  bool any_outstanding() const { return outstanding_ > 0; }

 private:
  struct entry {
    MPI_Request request = MPI_REQUEST_NULL;
    std::int64_t step = -1;
    vote mine;
    vote reduced;
  };
  entry& slot(std::int64_t step) { return ring_[static_cast<std::size_t>(step) % ring_.size()]; }

  MPI_Comm comm_;
  std::int64_t lag_;
  std::vector<entry> ring_;
  int outstanding_ = 0;
};

}  // namespace ballast
