#include "runtime/exchange.hpp"

#include <algorithm>

#include "runtime/error.hpp"

namespace ballast {
namespace {

// One message holds less than 2^31 bytes.
constexpr std::size_t piece_bytes_max = std::size_t{1} << 30;
constexpr int tag_count = 32767;  // the next is the roll call's (mpi_handles.cpp)
constexpr int sample_every = 8;

}  // namespace

rank_operations operations_of_rank(const schedule& schedule, int rank) {
  rank_operations mine;
  mine.first_of_batch.push_back(0);
  for (const batch& b : schedule.batches) {
    const std::size_t first = mine.operations.size();
    for (std::int32_t m = b.first_move; m < b.first_move + b.move_count; ++m) {
      const scheduled_move& move = schedule.moves[m];
      if (move.source_rank == rank && move.target_rank == rank) {
        mine.operations.push_back({m, move.round, rank, operation_kind::copy});
      } else if (move.source_rank == rank) {
        mine.operations.push_back({m, move.round, move.target_rank, operation_kind::send});
      } else if (move.target_rank == rank) {
        mine.operations.push_back({m, move.round, move.source_rank, operation_kind::receive});
      }
    }
    std::ranges::stable_sort(mine.operations.begin() + first, mine.operations.end(), {},
                             &rank_operation::round);
    mine.first_of_batch.push_back(static_cast<std::int32_t>(mine.operations.size()));
  }
  return mine;
}

exchange::exchange(MPI_Comm comm, const expert_memory& memory, int rank, int rows_per_rank,
                   exchange_settings settings)
    : comm_(comm),
      memory_(memory),
      rank_(rank),
      rows_per_rank_(rows_per_rank),
      settings_(settings) {}

void exchange::begin(const schedule& schedule, const rank_operations& operations) {
  BALLAST_EXPECT(finished(), "an exchange began while another was under way");
  schedule_ = &schedule;
  operations_ = &operations;
  arrived_ = 0;
  bad_move_ = -1;
  draining_ = false;
}

void exchange::start(int batch) {
  BALLAST_EXPECT(active_count_ < 2, "a third batch was started");
  active_[active_count_++] = {batch, operations_->first_of_batch[batch],
                              operations_->first_of_batch[batch + 1]};
}

void exchange::progress() {
  while (active_count_ > 0) {
    if (!requests_.empty()) {
      int done = 0;
      BALLAST_MPI(MPI_Testall(static_cast<int>(requests_.size()), requests_.data(), &done,
                              MPI_STATUSES_IGNORE));
      if (done == 0) return;
      requests_.clear();
    }
    verify_round();
    if (active_[0].next == active_[0].end) {
      arrived_ += bad_move_ < 0;  // a batch with a bad move, and those after it, do not count
      active_[0] = active_[1];
      --active_count_;
    } else if (!post_round()) {
      return;
    }
  }
}

// Posts the operations of the first active batch's next round; false if this step has no bytes left
// to send.
bool exchange::post_round() {
  active_batch& a = active_[0];
  const auto& operations = operations_->operations;
  const std::int32_t round = operations[a.next].round;
  std::int32_t end = a.next;
  bool sends = false;
  for (; end < a.end && operations[end].round == round; ++end)
    sends |= operations[end].kind == operation_kind::send;
  if (sends && settings_.bytes_per_step > 0 && budget_ <= 0 && !draining_) return false;
  for (; a.next < end; ++a.next) post(operations[a.next]);
  return true;
}

void exchange::post(const rank_operation& operation) {
  const scheduled_move& move = schedule_->moves[operation.move];
  const std::int64_t bytes = memory_.expert_bytes(move.layer);
  switch (operation.kind) {
    case operation_kind::send:
      budget_ -= bytes;
      post_pieces(move, source_of(move), operation);
      return;
    case operation_kind::receive:
      post_pieces(move, landing(move, active_[0].batch), operation);
      break;
    case operation_kind::copy:
      memory_.copy(move.layer, source_of(move), landing(move, active_[0].batch));
      break;
  }
  bytes_received_ += bytes;
  arriving_.push_back(operation.move);
}

void exchange::post_pieces(const scheduled_move& move, weight_location where,
                           const rank_operation& operation) {
  for (int t = 0; t < memory_.tensor_count(move.layer); ++t) {
    std::byte* at = memory_.address(move.layer, t, where);
    std::size_t left = memory_.tensor_bytes(move.layer, t);
    while (left > 0) {
      const std::size_t piece = std::min(left, piece_bytes_max);
      requests_.push_back(MPI_REQUEST_NULL);
      const int count = static_cast<int>(piece);
      const int tag = operation.move % tag_count;
      if (operation.kind == operation_kind::send) {
        BALLAST_MPI(MPI_Isend(at, count, MPI_BYTE, operation.peer, tag, comm_, &requests_.back()));
      } else {
        BALLAST_MPI(MPI_Irecv(at, count, MPI_BYTE, operation.peer, tag, comm_, &requests_.back()));
      }
      at += piece;
      left -= piece;
    }
  }
}

// A wrong arrival is noted, not thrown: all ranks learn of it by the next vote. It is checked
// before it can be forwarded.
void exchange::verify_round() {
  for (const std::int32_t m : arriving_) {
    const scheduled_move& move = schedule_->moves[m];
    const weight_location where = landing(move, active_[0].batch);
    if (corrupt_arrival_ && move.source_rank != rank_) {
      *memory_.address(move.layer, 0, where) ^= std::byte{1};
      corrupt_arrival_ = false;
    }
    const bool skip = draining_ || bad_move_ >= 0 || settings_.verify == BALLAST_VERIFY_OFF ||
                      (settings_.verify == BALLAST_VERIFY_SAMPLE && m % sample_every != 0);
    if (!skip && memory_.hash(move.layer, where) != memory_.hash_of_expert(move.layer, move.expert))
      bad_move_ = m;
  }
  arriving_.clear();
}

weight_location exchange::landing(const scheduled_move& move, int batch) const {
  if (move.way == move_way::staged) return {move.staging_row, batch % 2};
  return {move.target_slot - move.target_rank * rows_per_rank_, -1};
}

weight_location exchange::source_of(const scheduled_move& move) const {
  if (move.forwards >= 0) return landing(schedule_->moves[move.forwards], active_[0].batch);
  return {move.source_slot - move.source_rank * rows_per_rank_, -1};
}

}  // namespace ballast
