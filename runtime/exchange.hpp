#pragma once
// Moving the weights of a schedule's batches between ranks and checking what arrives, as the step
// protocol sees it. Up to two batches are started at once; a rank works through its operations
// batch by batch, and all ranks follow the same order, so no wait can be circular:
//
//     start(k) ... start(k+1)      rows that may be written are out of service (balancer)
//     progress(): move | check what arrived | ... | batch k has arrived
//     balancer: all ranks report k arrived -> commit(k), start(k+2)

#include <cstdint>
#include <vector>

#include "policies/measured.hpp"
#include "policies/schedule.hpp"
#include "runtime/expert_memory.hpp"
#include "runtime/transfer.hpp"

namespace ballast {

struct rank_operation {
  std::int32_t move;
  std::int32_t round;
  std::int32_t peer;
  operation_kind kind;
};

/// A rank's part of a schedule: operations by batch, then round, then move.
struct rank_operations {
  std::vector<rank_operation> operations;
  std::vector<std::int32_t> first_of_batch;  ///< [batches + 1]
};
rank_operations operations_of_rank(const schedule& schedule, int rank);

/// Whether a move is hashed under this setting.
inline bool is_verified(std::int32_t verify, std::int32_t move) {
  return verify == BALLAST_VERIFY_FULL || (verify == BALLAST_VERIFY_SAMPLE && move % 8 == 0);
}

/// Where a move's weights land on its target rank.
weight_location landing_of(const scheduled_move& move, int batch, int rows_per_rank);
/// Where they come from on its source rank.
weight_location source_of(const schedule& steps, const scheduled_move& move, int batch,
                          int rows_per_rank);

class exchange {
 public:
  virtual ~exchange() = default;
  exchange(const exchange&) = delete;
  exchange& operator=(const exchange&) = delete;

  /// Prepares for a schedule; both must stay unchanged until finished() after the last start().
  virtual void begin(const schedule& schedule, const rank_operations& operations) = 0;
  virtual void start(int batch) = 0;

  /// A new step's worth of bytes may travel.
  virtual void refill() = 0;
  /// From now on unpaced and unverified: the batches will not be committed, only finished.
  virtual void drain() = 0;
  /// Does what can be done without waiting.
  virtual void progress() = 0;

  virtual bool finished() const = 0;
  virtual int batches_arrived() const = 0;
  /// Index of the first move whose hash was wrong, or -1.
  virtual int first_bad_move() const = 0;
  /// Since construction.
  virtual std::int64_t bytes_received() const = 0;
  /// The same by link class, and the time it took; nothing where this is not measured.
  virtual link_times times_received() const { return {}; }
  /// Where a move's weights land on its target rank.
  virtual weight_location landing(const scheduled_move& move, int batch) const = 0;

  /// Rehearsals: flip one bit of the next row received, before it is verified, or of the source row
  /// of a move.
  virtual void corrupt_next_arrival() = 0;
  virtual void corrupt_source(const scheduled_move& move) = 0;

 protected:
  exchange() = default;
};

}  // namespace ballast
