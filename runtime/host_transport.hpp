#pragma once
// Carries the transfers of a round on host memory: by MPI between ranks, by copy within this one.
// Weights travel in pieces, a few posted at a time, and each is hashed as it arrives, while a cache
// still holds it. What one call does is bounded, so that steps stay short whatever an expert's
// size.
//
// The exchange knows what has to travel and when, a transport how; a transfer is all they share.

#include <mpi.h>

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "runtime/expert_memory.hpp"
#include "runtime/transfer.hpp"

namespace ballast {

/// A part of one tensor of a transfer.
struct transfer_piece {
  transfer* of = nullptr;
  int tensor = 0;
  std::size_t offset = 0;
  std::size_t bytes = 0;
};

/// The pieces of the transfers of one kind in a round, in order.
class piece_sequence {
 public:
  explicit piece_sequence(const expert_memory& memory) : memory_(memory) {}
  void begin(std::span<transfer> round, operation_kind kind);
  bool empty() const { return at_ == round_.size(); }
  transfer_piece front() const;
  void pop();

 private:
  void skip_other_kinds();

  const expert_memory& memory_;
  std::span<transfer> round_;
  operation_kind kind_ = operation_kind::copy;
  std::size_t at_ = 0;
  int tensor_ = 0;
  std::size_t offset_ = 0;
};

/// Pieces that MPI has, oldest first.
class posted_pieces {
 public:
  bool empty() const { return count_ == 0; }
  /// Whether all would hold `bytes_max` at most with `bytes` more. One of any size fits.
  bool fits(std::size_t bytes, std::size_t bytes_max) const;
  /// The request to post the piece with.
  MPI_Request& push(const transfer_piece& piece);
  /// Takes the oldest piece if it is complete.
  bool pop_complete(transfer_piece& piece);

 private:
  struct posted {
    MPI_Request request = MPI_REQUEST_NULL;
    transfer_piece piece;
  };
  std::array<posted, 16> ring_;
  std::size_t first_ = 0;
  std::size_t count_ = 0;
  std::size_t bytes_ = 0;
};

class host_transport {
 public:
  /// References are kept; `comm` carries nothing but weights. `is_on_node`: [ranks], whose memory
  /// this rank shares.
  host_transport(MPI_Comm comm, const expert_memory& memory, std::vector<bool> is_on_node);

  /// Begins a round; the one before has finished. Both ends list the transfers between them in the
  /// same order. `round` must stay until finished; its hashes are written.
  void begin(std::span<transfer> round);

  /// Does what can be done without waiting, and returns the bytes that it sent, received and
  /// copied: about `bytes_max`, one piece of each kind more at most. Sends only while `send_budget`
  /// is positive, and takes what it sends off it.
  std::int64_t progress(std::int64_t bytes_max, std::int64_t& send_budget);

  bool finished() const;

  /// A rehearsal: flip one byte of the next piece received, before it is hashed.
  void corrupt_next_arrival() { corrupt_arrival_ = true; }

 private:
  std::int64_t send(std::int64_t& send_budget);
  std::int64_t receive();
  std::int64_t copy();
  void post_receives();
  std::byte* address(const transfer_piece& piece, weight_location where) const;
  void hash(const transfer_piece& piece, std::uint64_t& sum) const;

  MPI_Comm comm_;
  const expert_memory& memory_;
  std::vector<bool> is_on_node_;
  piece_sequence to_send_;
  piece_sequence to_receive_;
  piece_sequence to_copy_;
  posted_pieces sends_;
  posted_pieces receives_;
  std::uint64_t received_sum_ = 0;  // of the tensor that is arriving
  std::uint64_t copied_sum_ = 0;
  bool corrupt_arrival_ = false;
};

}  // namespace ballast
