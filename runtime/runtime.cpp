// What a started context is asked, and its end.
#include "runtime/runtime.hpp"

#include <fmt/format.h>

#include <chrono>
#include <thread>

#include "runtime/agreement.hpp"
#include "runtime/error.hpp"
#include "runtime/guard.hpp"
#include "runtime/ids.hpp"

namespace ballast {

void runtime::finish() {
  const auto start = steady_clock::now();
  const double deadline = settings_.config.deadline_seconds;
  const verdict clean = verdict_of([&] {
    if (balancer_) balancer_->finish();
    if (backend_ && !backend_->disconnect())
      throw error(BALLAST_ERROR_DEADLINE, fmt::format("no answer within {} s", deadline));
    while (planner_ && planner_->running()) {
      if (seconds_since(start) > deadline) {
        throw error(
            BALLAST_ERROR_DEADLINE,
            fmt::format("rank {}: the planner is at work for longer than {} s", rank_, deadline));
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  });
  if (clean.status == BALLAST_OK) return;
  if (backend_) guard([&] { backend_->abandon(); });
  vote_comm_.abandon();
  weight_comm_.abandon();
  throw error(clean.status, clean.text + "; what is under way is left to the process's end");
}

void runtime::record(int layer, const ballast_ids& ids) {
  require_started();
  require_layer(layer);
  check_ids(ids);
  backend_->record(layer, ids, balancer_->listening());
}

void runtime::record_counts(int layer, const std::int64_t* counts) {
  require_started();
  require_layer(layer);
  require_argument(counts, "counts");
  backend_->record_counts(layer, counts, balancer_->listening());
}

void runtime::record_time(std::int64_t ns) {
  require_started();
  require_in_range("ns", ns, 0, 1'000'000'000'000);
  balancer_->record_time(ns);
}

void runtime::route(int layer, const ballast_ids& ids, int mode, void* slots) const {
  require_routable(layer, ids, mode, slots);
  backend_->route(layer, ids, mode, balancer_->step_number(), slots);
}

void runtime::record_route(int layer, const ballast_ids& ids, int mode, void* slots) {
  require_routable(layer, ids, mode, slots);
  backend_->record_route(layer, ids, mode, balancer_->step_number(), slots, balancer_->listening());
}

void runtime::require_routable(int layer, const ballast_ids& ids, int mode,
                               const void* slots) const {
  require_started();
  require_layer(layer);
  check_ids(ids);
  if (mode < BALLAST_ROUTE_SHARES || mode > BALLAST_ROUTE_RANK_INVARIANT) {
    throw error(BALLAST_ERROR_INVALID_ARGUMENT, fmt::format("mode is {}, expected 0 to 4", mode));
  }
  if (ids.tokens > 0) require_argument(slots, "slots");
}

void runtime::step(ballast_step_result* result) {
  require_started();
  balancer_->step(result);
}

void runtime::pause(int how) {
  require_started();
  if (how != BALLAST_DROP && how != BALLAST_FINISH) {
    throw error(BALLAST_ERROR_INVALID_ARGUMENT, fmt::format("how is {}, expected 0 or 1", how));
  }
  balancer_->pause(how == BALLAST_DROP);
}

void runtime::resume() {
  require_started();
  balancer_->resume();
}

void runtime::set_ranks(const std::int32_t* speed, const std::uint8_t* masked) {
  require_started();
  rank_marks marks;
  recovery found;
  const verdict mine = verdict_of([&] {
    require_idle();
    marks = read_rank_marks(speed, masked, ranks_);
    found = recover_from(marks);
    require_loaded(found);
    require_plannable(found.left, marks);
  });
  agree(vote_comm_.get(), mine,
        mine.status == BALLAST_OK ? marks.agreed_fields() : std::vector<agreed_field>(),
        settings_.config.deadline_seconds);
  balancer_->leave_ranks(marks.gone, found);
  planner_->mark_ranks(std::move(marks));
}

void runtime::require_idle() const {
  if (balancer_->idle()) return;
  throw error(BALLAST_ERROR_STATE,
              "an epoch is in flight: ballast_pause, and steps until the phase is idle");
}

recovery runtime::recover_from(const rank_marks& marks) const {
  return recover(live_->current(), {marks.gone, marks.masked, settings_.usable_slots,
                                    settings_.slots_per_layer, settings_.config.spare_rows});
}

// What ranks that are gone were the only ones to hold must be in place again, on this rank as far
// as it is the one to hold it.
void runtime::require_loaded(const recovery& found) const {
  const slot_layout& layout = settings_.layout;
  for (const lost_place& lost : found.lost) {
    const std::string what =
        fmt::format("masked_ranks: layer {}, expert {} has no replica on a rank that is not gone",
                    lost.layer, lost.expert);
    if (lost.slot < 0) {
      throw error(BALLAST_ERROR_INVALID_ARGUMENT,
                  what + ", and there is no slot for it on a rank that serves");
    }
    if (layout.rank_of(lost.slot) != rank_) continue;
    const expert_memory& memory = backend_->memory();
    const int row = lost.slot - layout.first(rank_);
    if (memory.hash(lost.layer, {row, -1}) == memory.hash_of_expert(lost.layer, lost.expert))
      continue;
    throw error(
        BALLAST_ERROR_INVALID_ARGUMENT,
        fmt::format("{}, and slot {} does not hold its weights (ballast_lost)", what, lost.slot));
  }
}

ballast_loss runtime::loss(const std::uint8_t* masked, int index) const {
  require_started();
  require_idle();
  const rank_marks marks = read_rank_marks(nullptr, masked, ranks_);
  const recovery found = recover_from(marks);
  if (index < 0 || static_cast<std::size_t>(index) >= found.lost.size()) {
    throw error(BALLAST_ERROR_STATE, fmt::format("there is no lost expert at index {}", index));
  }
  const lost_place& lost = found.lost[index];
  return {sizeof(ballast_loss), lost.layer, lost.expert, lost.slot,
          lost.slot < 0 ? -1 : settings_.layout.rank_of(lost.slot)};
}

std::uint64_t runtime::expert_hash(int layer, int expert) const {
  require_started();
  require_layer(layer);
  if (expert < 0 || expert >= settings_.config.experts) {
    throw error(BALLAST_ERROR_INVALID_ARGUMENT,
                fmt::format("expert {} is not in 0..{}", expert, settings_.config.experts - 1));
  }
  return backend_->memory().hash_of_expert(layer, expert);
}

std::int32_t runtime::transport_from(int rank) const {
  require_started();
  if (rank < 0 || rank >= ranks_) {
    throw error(BALLAST_ERROR_INVALID_ARGUMENT,
                fmt::format("rank {} is not in 0..{}", rank, ranks_ - 1));
  }
  return backend_->transport_from(rank);
}

const ballast_epoch* runtime::report(int index) const {
  require_started();
  return balancer_->report(index);
}

std::span<const ballast_damage> runtime::damaged() const {
  require_started();
  return balancer_->damaged();
}

std::span<const std::int64_t> runtime::past_window(int index) const {
  require_started();
  return planner_->past_window(index);
}

ballast_counters runtime::counters() const {
  require_started();
  ballast_counters counters = balancer_->counters();
  counters.ids_out_of_range = backend_->ids_out_of_range();
  counters.past_windows = planner_->past_windows();
  return counters;
}

void runtime::require_started() const {
  if (!balancer_ || start_failed_)
    throw error(BALLAST_ERROR_STATE, "ballast_start has not been called, or has failed");
}

void runtime::require_layer(int layer) const {
  if (layer < 0 || layer >= settings_.config.layers) {
    throw error(BALLAST_ERROR_INVALID_ARGUMENT,
                fmt::format("layer {} is not in 0..{}", layer, settings_.config.layers - 1));
  }
}

}  // namespace ballast
