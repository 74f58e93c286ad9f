// The part of device_exchange that sends and receives by NCCL: rounds, posted by all ranks alike.
#include <algorithm>

#include "runtime/cuda/device_exchange.hpp"

namespace ballast {

// From the whole schedule, so that all ranks have the same list.
void device_exchange::list_nccl_rounds(active_batch& a) {
  a.rounds.clear();
  a.rounds_posted = 0;
  const batch& b = schedule_->batches[a.batch];
  for (std::int32_t m = b.first_move; m < b.first_move + b.move_count; ++m) {
    const scheduled_move& move = schedule_->moves[m];
    if (!goes_by_nccl(m)) continue;
    const std::int64_t bytes = memory_.expert_bytes(move.layer);
    if (a.rounds.empty() || a.rounds.back().round != move.round)
      a.rounds.push_back({move.round, 0});
    a.rounds.back().bytes = std::max(a.rounds.back().bytes, bytes);
  }
}

// How many is decided by what all ranks know alike: the schedule and the bytes of a step.
void device_exchange::post_nccl_rounds() {
  for (int i = 0; i < active_count_ && !draining_; ++i) {
    active_batch& a = active(i);
    while (a.rounds_posted < a.rounds.size() && (unpaced() || nccl_budget_ > 0)) {
      const nccl_round& next = a.rounds[a.rounds_posted++];
      nccl_budget_ -= next.bytes;
      post_nccl_round(a, next.round);
    }
    if (a.rounds_posted < a.rounds.size()) return;
  }
}

void device_exchange::post_nccl_round(active_batch& a, std::int32_t round) {
  sends_.clear();
  receives_.clear();
  const auto& operations = operations_->operations;
  for (std::int32_t o = operations_->first_of_batch[a.batch];
       o < operations_->first_of_batch[a.batch + 1]; ++o) {
    const rank_operation& op = operations[o];
    const scheduled_move& move = schedule_->moves[op.move];
    if (op.round != round || !goes_by_nccl(op.move)) continue;
    const bool sending = op.kind == operation_kind::send;
    const weight_location where = sending ? source_of(move, a.batch) : landing(move, a.batch);
    for (int t = 0; t < memory_.tensor_count(move.layer); ++t) {
      (sending ? sends_ : receives_)
          .push_back({memory_.address(move.layer, t, where), memory_.tensor_bytes(move.layer, t),
                      op.peer, -1});
    }
    if (!sending) receives_.back().completes = op.move;
  }
  constexpr std::size_t half = nccl_link::group_operations_max / 2;
  for (std::size_t first = 0; first < std::max(sends_.size(), receives_.size()); first += half) {
    links_.nccl->begin_group();
    for (std::size_t i = first; i < std::min(first + half, sends_.size()); ++i)
      links_.nccl->send(sends_[i].at, sends_[i].bytes, sends_[i].peer, nccl_stream_.get());
    for (std::size_t i = first; i < std::min(first + half, receives_.size()); ++i)
      links_.nccl->receive(receives_[i].at, receives_[i].bytes, receives_[i].peer,
                           nccl_stream_.get());
    links_.nccl->end_group();
    note_arrivals(a, first, std::min(first + half, receives_.size()));
  }
}

// The moves of receives [first, last) that are complete have arrived when the group just posted
// ends.
void device_exchange::note_arrivals(active_batch& a, std::size_t first, std::size_t last) {
  const std::size_t before = a.enqueued.size();
  for (std::size_t i = first; i < last; ++i) {
    if (receives_[i].completes >= 0)
      note_enqueued(a, *std::ranges::find(a.arrivals, receives_[i].completes, &arrival::move));
  }
  if (a.enqueued.size() > before) close_group(a, nccl_stream_.get(), false);
}

}  // namespace ballast
