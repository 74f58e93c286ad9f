#pragma once
// Moves the weights of a schedule's batches between ranks and checks what arrives. Up to two
// batches are started at once; this rank works through its operations batch by batch and round by
// round, and a round begins when this rank's part of the one before is done. All ranks follow the
// same order, so no wait can be circular:
//
//     start(k) ... start(k+1)   rows that may be written are out of service (balancer)
//     progress(): hand round r to the transport | compare the hashes of what arrived |
//                 next round | batch k arrived | round 0 of batch k+1
//     balancer: all ranks report k arrived -> commit(k), start(k+2)

#include <array>
#include <cstdint>
#include <vector>

#include "policies/schedule.hpp"
#include "runtime/expert_memory.hpp"
#include "runtime/host_transport.hpp"
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

struct exchange_settings {
  std::int32_t verify = BALLAST_VERIFY_FULL;
  std::int64_t bytes_per_step = 0;  ///< 0: unpaced
};

class exchange {
 public:
  /// References are kept; `comm` carries nothing but weights.
  exchange(MPI_Comm comm, const expert_memory& memory, int rows_per_rank,
           exchange_settings settings);

  /// Prepares for a schedule; both must stay unchanged until finished() after the last start().
  void begin(const schedule& schedule, const rank_operations& operations);
  void start(int batch);

  /// A new step's worth of bytes may be sent.
  void refill();
  /// From now on unpaced and unverified: the batches will not be committed, only finished.
  void drain();
  /// Does what can be done without waiting, up to about bytes_per_call sent, received and copied,
  /// so that a step stays near a millisecond whatever an expert's size.
  void progress();
  static constexpr std::int64_t bytes_per_call = std::int64_t{2} << 20;

  bool finished() const { return active_count_ == 0; }
  int batches_arrived() const { return arrived_; }
  /// Index of the first move whose hash was wrong, or -1.
  int first_bad_move() const { return bad_move_; }
  /// Since construction.
  std::int64_t bytes_received() const { return bytes_received_; }

  /// Where a move's weights land on its target rank.
  weight_location landing(const scheduled_move& move, int batch) const;

  /// Rehearsals: flip one byte of the next row received, before it is verified, or of the source
  /// row of a move.
  void corrupt_next_arrival() { transport_.corrupt_next_arrival(); }
  void corrupt_source(const scheduled_move& move) {
    *memory_.address(move.layer, 0, source_of(move)) ^= std::byte{1};
  }

 private:
  struct active_batch {
    int batch = 0;
    std::int32_t next = 0;
    std::int32_t end = 0;
  };

  void begin_round();
  void check_round();
  bool to_be_hashed(std::int32_t move) const;
  weight_location source_of(const scheduled_move& move) const;

  const expert_memory& memory_;
  host_transport transport_;
  int rows_per_rank_;
  exchange_settings settings_;
  const schedule* schedule_ = nullptr;
  const rank_operations* operations_ = nullptr;
  std::array<active_batch, 2> active_;
  int active_count_ = 0;
  std::vector<transfer> round_;
  std::int64_t send_budget_ = 0;
  int arrived_ = 0;
  int bad_move_ = -1;
  std::int64_t bytes_received_ = 0;
  bool draining_ = false;
};

}  // namespace ballast
