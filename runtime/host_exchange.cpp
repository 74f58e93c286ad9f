#include "runtime/host_exchange.hpp"

#include <algorithm>
#include <limits>

#include "runtime/error.hpp"

namespace ballast {
namespace {

constexpr std::int64_t unpaced = std::numeric_limits<std::int64_t>::max();

}  // namespace

host_exchange::host_exchange(MPI_Comm comm, const expert_memory& memory, int rows_per_rank,
                             exchange_settings settings)
    : memory_(memory),
      transport_(comm, memory, settings.is_on_node),
      rows_per_rank_(rows_per_rank),
      settings_(settings) {
  // A rank receives or copies no more in a batch, and in a round sends to one such rank.
  round_.reserve(2 * static_cast<std::size_t>(settings.receives_per_batch));
}

void host_exchange::begin(const schedule& schedule, const rank_operations& operations) {
  BALLAST_EXPECT(finished(), "an exchange began while another was under way");
  schedule_ = &schedule;
  operations_ = &operations;
  arrived_ = 0;
  bad_move_ = -1;
  draining_ = false;
}

void host_exchange::start(int batch) {
  BALLAST_EXPECT(active_count_ < 2, "a third batch was started");
  active_[active_count_++] = {batch, operations_->first_of_batch[batch],
                              operations_->first_of_batch[batch + 1]};
}

void host_exchange::refill() {
  send_budget_ = settings_.bytes_per_step > 0 && !draining_ ? settings_.bytes_per_step : unpaced;
}

void host_exchange::drain() {
  draining_ = true;
  refill();
}

void host_exchange::progress() {
  if (active_count_ == 0) return;
  std::int64_t left = bytes_per_call;
  auto since = std::chrono::steady_clock::now();
  while (active_count_ > 0) {
    left -= transport_.progress(left, send_budget_);
    since = charge(since);
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

// Adds the time since then to that of this round's link, and returns now.
std::chrono::steady_clock::time_point host_exchange::charge(
    std::chrono::steady_clock::time_point since) {
  const auto now = std::chrono::steady_clock::now();
  if (round_link_ >= 0) {
    times_.ns[round_link_] +=
        std::chrono::duration_cast<std::chrono::nanoseconds>(now - since).count();
  }
  return now;
}

// Hands the operations of the first active batch's next round to the transport.
void host_exchange::begin_round() {
  active_batch& a = active_[0];
  const auto& operations = operations_->operations;
  const std::int32_t round = operations[a.next].round;
  std::int64_t received = 0;
  round_link_ = -1;
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
      received += memory_.expert_bytes(move.layer);
      round_link_ = std::max(round_link_, static_cast<int>(move.link));
    }
    round_.push_back(t);
  }
  bytes_received_ += received;
  if (round_link_ >= 0) times_.bytes[round_link_] += received;
  transport_.begin(round_);
}

bool host_exchange::to_be_hashed(std::int32_t move) const {
  return !draining_ && bad_move_ < 0 && is_verified(settings_.verify, move);
}

// A wrong arrival is noted, not thrown: all ranks learn of it by the next vote. It is checked
// before it can be forwarded.
void host_exchange::check_round() {
  for (const transfer& t : round_) {
    if (!t.hashed || draining_ || bad_move_ >= 0) continue;
    if (t.hash != memory_.hash_of_expert(t.layer, schedule_->moves[t.move].expert))
      bad_move_ = t.move;
  }
  round_.clear();
}

weight_location host_exchange::landing(const scheduled_move& move, int batch) const {
  return landing_of(move, batch, rows_per_rank_);
}

weight_location host_exchange::source_of(const scheduled_move& move) const {
  return ballast::source_of(*schedule_, move, active_[0].batch, rows_per_rank_);
}

}  // namespace ballast
