#include "runtime/exchange.hpp"

#include <algorithm>
#include <limits>

#include "runtime/error.hpp"

namespace ballast {
namespace {

constexpr int sample_every = 8;
constexpr std::int64_t unpaced = std::numeric_limits<std::int64_t>::max();

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

exchange::exchange(MPI_Comm comm, const expert_memory& memory, int rows_per_rank,
                   exchange_settings settings)
    : memory_(memory),
      transport_(comm, memory),
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

void exchange::refill() {
  send_budget_ = settings_.bytes_per_step > 0 && !draining_ ? settings_.bytes_per_step : unpaced;
}

void exchange::drain() {
  draining_ = true;
  refill();
}

void exchange::progress() {
  std::int64_t left = bytes_per_call;
  while (active_count_ > 0) {
    left -= transport_.progress(left, send_budget_);
    if (!transport_.finished()) return;
    check_round();
    if (active_[0].next < active_[0].end) {
      begin_round();
    } else {
      arrived_ += bad_move_ < 0;  // a batch with a bad move, and those after it, do not count
      active_[0] = active_[1];
      --active_count_;
    }
  }
}

// Hands the operations of the first active batch's next round to the transport.
void exchange::begin_round() {
  active_batch& a = active_[0];
  const auto& operations = operations_->operations;
  const std::int32_t round = operations[a.next].round;
  for (; a.next < a.end && operations[a.next].round == round; ++a.next) {
    const rank_operation& operation = operations[a.next];
    const scheduled_move& move = schedule_->moves[operation.move];
    transfer t;
    t.kind = operation.kind;
    t.move = operation.move;
    t.peer = operation.peer;
    t.layer = move.layer;
    if (t.kind != operation_kind::receive) t.source = source_of(move);
    if (t.kind != operation_kind::send) {
      t.target = landing(move, a.batch);
      t.hashed = to_be_hashed(operation.move);
      bytes_received_ += memory_.expert_bytes(move.layer);
    }
    round_.push_back(t);
  }
  transport_.begin(round_);
}

bool exchange::to_be_hashed(std::int32_t move) const {
  if (draining_ || bad_move_ >= 0) return false;
  return settings_.verify == BALLAST_VERIFY_FULL ||
         (settings_.verify == BALLAST_VERIFY_SAMPLE && move % sample_every == 0);
}

// A wrong arrival is noted, not thrown: all ranks learn of it by the next vote. It is checked
// before it can be forwarded.
void exchange::check_round() {
  for (const transfer& t : round_) {
    if (!t.hashed || draining_ || bad_move_ >= 0) continue;
    if (t.hash != memory_.hash_of_expert(t.layer, schedule_->moves[t.move].expert))
      bad_move_ = t.move;
  }
  round_.clear();
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
