// What a rank does on its own between transitions: the step, votes, local progress, deadlines.
#include "runtime/balancer.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <thread>

#include "runtime/error.hpp"
#include "runtime/guard.hpp"
#include "runtime/trouble.hpp"

namespace ballast {
namespace {

constexpr double roll_call_seconds = 2.0;
constexpr std::size_t events_shown = 4;
constexpr std::size_t events_in_line = 8;
constexpr std::int64_t slow_intervals = 2;
constexpr const char* phase_names[] = {"idle", "reduce", "plan", "exchange", "drain"};

}  // namespace

const char* name_of_phase(int phase) { return phase_names[phase]; }

balancer::balancer(const balancer_parts& parts)
    : parts_(parts),
      memory_(parts.weights.memory()),
      transfer_(parts.weights.transfer()),
      votes_(parts.vote_comm, parts.config.config.consensus_lag),
      steps_to_trigger_(parts.config.config.interval),
      times_(2, parts.config.config.interval, parts.config.config.window),
      report_(parts.config.cells(), parts.ranks, parts.rank),
      marked_(parts.config.config.layers),
      unpublished_(parts.config.config.layers) {
  counters_.struct_size = sizeof(counters_);
  counters_.balancing = parts.config.config.mode != BALLAST_MODE_STATIC;
  counters_.steps_since_commit = -1;
  unstaged_.reserve(parts.config.config.receives_per_batch);
  planner_job& job = parts.planning.job();
  job.loads.resize(parts.config.cells());
  job.measured.pass_ns.resize(parts.ranks);
  job.current = parts.live.current();
  job.distrusted.reserve(retries_max);
  dead_text_.reserve(error_text_max);  // it may be memory that has run out
  listening_ = counters_.balancing != 0 && parts.weights.listens_at(0);
}

void balancer::step(ballast_step_result* result) {
  tables_changed_ = false;
  const std::int64_t epochs_before = reports_made_;
  if (dead_status_ != BALLAST_OK) throw error(dead_status_, dead_text_);
  // A step that fails half-way, on whatever, cannot be gone on from.
  dead_status_ = guard([this] { any_step(); });
  if (dead_status_ != BALLAST_OK) {
    dead_text_ = last_error_text();
    throw error(dead_status_, dead_text_);
  }
  if (result != nullptr) {
    result->step = step_ - 1;
    result->phase = phase_;
    result->tables_changed = tables_changed_;
    result->epoch_closed = reports_made_ != epochs_before;
  }
}

void balancer::any_step() {
  if (--steps_to_trigger_ == 0 || phase_ != BALLAST_PHASE_IDLE || votes_.any_outstanding())
      [[unlikely]] {
    busy_step();
  }
  ++step_;
  listening_ = counters_.balancing != 0 && parts_.weights.listens_at(step_);
  parts_.weights.begin_step(step_);
}

void balancer::busy_step() {
  const auto start = steady_clock::now();
  const bool was_in_flight = phase_ != BALLAST_PHASE_IDLE;
  if (was_in_flight && !stall_rehearsed_ && drill_now(drill_kind::stall)) {
    stall_rehearsed_ = true;
    std::this_thread::sleep_for(
        std::chrono::duration<double>(parts_.config.config.deadline_seconds * 2 + 10));
  }
  take_vote();
  transfer_.refill();  // after the vote, which one rank waits for and another does not
  if (phase_ != BALLAST_PHASE_IDLE) advance();
  if (steps_to_trigger_ == 0) on_trigger();
  if (phase_ != BALLAST_PHASE_IDLE) votes_.post(step_, my_vote());

  const double seconds = seconds_since(start);
  if (phase_ != BALLAST_PHASE_IDLE) {
    epoch_.stall_seconds_max = std::max(epoch_.stall_seconds_max, seconds);
  } else if (was_in_flight) {
    ballast_epoch& closed = reports_[(reports_made_ - 1) % reports_.size()];
    closed.stall_seconds_max = std::max(closed.stall_seconds_max, seconds);
  }
}

void balancer::take_vote() {
  if (!votes_.due(step_)) return;
  const auto meanwhile = [this] {
    if (!transfer_.finished()) transfer_.progress();
  };
  if (!wait_until(votes_.request(step_), parts_.config.config.deadline_seconds, meanwhile))
    fall_silent();
  const vote all = votes_.take(step_);
  if (all.step != ~all.not_step) {
    throw error(BALLAST_ERROR_CONFIG_MISMATCH,
                fmt::format("ranks call ballast_step at different steps: {} and {}", all.step,
                            ~all.not_step));
  }
  if (phase_ != BALLAST_PHASE_IDLE && all.generation == generation_) transition(all);
}

vote balancer::my_vote() const {
  vote mine;
  mine.generation = generation_;
  mine.progress = progress_ << 32 | static_cast<std::uint32_t>(parts_.rank);
  mine.trouble = drop_requested_
                     ? std::min(trouble_, make_trouble(trouble_kind::paused, parts_.rank))
                     : trouble_;
  if (phase_ == BALLAST_PHASE_PLAN && progress_ > 0) {
    mine.digest = parts_.planning.job().digest ^ (drill_now(drill_kind::digest) ? 1 : 0);
    mine.not_digest = ~mine.digest;
  }
  if (phase_ == BALLAST_PHASE_EXCHANGE && transfer_.first_bad_move() >= 0) {
    mine.bad_move = static_cast<std::uint64_t>(transfer_.first_bad_move());
  }
  mine.bad_source = bad_source_;
  mine.step = static_cast<std::uint64_t>(step_);
  mine.not_step = ~mine.step;
  return mine;
}

void balancer::advance() {
  if (phase_ == BALLAST_PHASE_REDUCE) advance_reduce();
  if (phase_ == BALLAST_PHASE_PLAN) advance_plan();
  if (phase_ == BALLAST_PHASE_EXCHANGE) {
    transfer_.progress();
    progress_ = static_cast<std::uint64_t>(transfer_.batches_arrived());
  }
  if (phase_ == BALLAST_PHASE_DRAIN) advance_drain();
  check_deadline();
}

// Every rank posts it once for every trigger, whatever becomes of the epoch. It travels apart from
// the votes, whose order on their communicator is that of the steps.
bool balancer::post_reduce() {
  if (reducing_) return true;
  const std::int64_t* sums = parts_.weights.window_sums();
  if (sums == nullptr) return false;
  const auto [ns, passes] = times_cut_;
  const std::span<std::int64_t> all =
      report_.fill(sums, passes > 0 ? ns / passes : 0, transfer_.times_received());
  BALLAST_MPI(MPI_Iallreduce(MPI_IN_PLACE, all.data(), static_cast<int>(all.size()), MPI_INT64_T,
                             MPI_SUM, parts_.weight_comm, &reduce_request_));
  return reducing_ = true;
}

void balancer::advance_reduce() {
  if (!post_reduce()) return;
  int done = 0;
  BALLAST_MPI(MPI_Test(&reduce_request_, &done, MPI_STATUS_IGNORE));
  if (done == 0) return;
  epoch_.reduce_seconds = seconds_since(epoch_start_);
  events_.add(step_, protocol_event::reduced);
  planner_job& job = parts_.planning.job();
  report_.read(job.loads, job.measured);
  job.passes = std::min(epoch_.step_triggered + 1, parts_.config.window_steps());
  job.reschedule = false;
  job.distrusted.clear();
  job.current = parts_.live.current();
  parts_.planning.submit();
  phase_ = BALLAST_PHASE_PLAN;
}

void balancer::advance_plan() {
  if (progress_ > 0 || trouble_ != nothing || parts_.planning.running()) return;
  planner_job& job = parts_.planning.job();
  if (drill_now(drill_kind::error)) job.failure = "a rehearsed planner error";
  events_.add(step_, protocol_event::planned, static_cast<std::int64_t>(job.steps.moves.size()));
  if (!job.failure.empty()) {
    trouble_ = make_trouble(trouble_kind::planner_failed, parts_.rank);
    parts_.log(BALLAST_LOG_ERROR, fmt::format("rank {}: epoch {}: the planner failed: {}",
                                              parts_.rank, epoch_.epoch, job.failure));
    return;
  }
  epoch_.plan_seconds += job.seconds;
  progress_ = 1;
}

void balancer::advance_drain() {
  if (progress_ > 0) return;
  transfer_.progress();
  if (!post_reduce()) return;
  if (reduce_request_ != MPI_REQUEST_NULL) {
    int done = 0;
    BALLAST_MPI(MPI_Test(&reduce_request_, &done, MPI_STATUS_IGNORE));
  }
  if (!transfer_.finished() || parts_.planning.running() || reduce_request_ != MPI_REQUEST_NULL)
    return;
  // Was it the journey or the source? Only its owner can tell; its verdict rides on the next votes.
  if (reschedule_after_drain_ && bad_move_.forwards < 0 && bad_move_.source_rank == parts_.rank) {
    const int row = bad_move_.source_slot - parts_.config.layout.first(parts_.rank);
    const bool good = memory_.hash(bad_move_.layer, {row, -1}) ==
                      memory_.hash_of_expert(bad_move_.layer, bad_move_.expert);
    if (!good) bad_source_ = 0;
  }
  events_.add(step_, protocol_event::drained);
  progress_ = 1;
}

void balancer::check_deadline() {
  const double deadline = parts_.config.config.deadline_seconds;
  if (trouble_ != nothing || seconds_since(phase_start_) <= deadline) return;
  events_.add(step_, protocol_event::deadline_passed);
  // What was sent must be received before the next epoch; a peer that does not do so is gone.
  if (phase_ == BALLAST_PHASE_DRAIN) fall_silent();
  trouble_ = make_trouble(trouble_kind::deadline, parts_.rank);
}

void balancer::on_trigger() {
  steps_to_trigger_ = parts_.config.config.interval;
  if (counters_.balancing == 0) return;
  if (paused_) return turn_windows();  // the first window after the pause is as long as any
  if (phase_ != BALLAST_PHASE_IDLE) {
    ++counters_.triggers_missed;
    events_.add(step_, protocol_event::trigger_missed);
    warn_if_slow();
    turn_windows();
    return;
  }
  parts_.weights.cut_window();
  times_.sum(times_cut_);
  turn_windows();
  epoch_ = {};
  epoch_.struct_size = sizeof(epoch_);
  epoch_.epoch = counters_.epochs++;
  epoch_.step_triggered = step_;
  epoch_.step_committed = -1;
  slowness_told_ = false;
  epoch_start_ = steady_clock::now();
  bytes_received_before_ = transfer_.bytes_received();
  events_.add(step_, protocol_event::triggered, epoch_.epoch);
  enter(BALLAST_PHASE_REDUCE);
  reducing_ = false;
  advance_reduce();
}

void balancer::turn_windows() {
  parts_.weights.turn_window();
  times_.turn();
}

void balancer::record_time(std::int64_t ns) {
  if (!listening_) return;
  times_.current()[0] += ns;
  times_.current()[1] += step_timed_ != step_;
  step_timed_ = step_;
}

// The deadline is what ends an epoch; this only says, once, that the interval may be too short.
// Steps that do nothing pass by the thousand while a plan is made: that is not slow, so time counts
// too.
void balancer::warn_if_slow() {
  const std::int64_t last = std::max(epoch_.step_triggered, epoch_.step_committed);
  const std::int64_t steps = step_ - last;
  if (slowness_told_ || steps < slow_intervals * parts_.config.config.interval ||
      seconds_since(phase_start_) < parts_.config.config.deadline_seconds / 10)
    return;
  slowness_told_ = true;
  if (parts_.rank != 0) return;
  parts_.log(
      BALLAST_LOG_WARNING,
      fmt::format("epoch {} has committed nothing for {} steps, {} intervals (phase {})",
                  epoch_.epoch, steps, steps / parts_.config.config.interval, phase_names[phase_]));
}

void balancer::enter(int phase) {
  phase_ = phase;
  ++generation_;
  progress_ = 0;
  trouble_ = nothing;
  bad_source_ = nothing;
  phase_start_ = steady_clock::now();
}

void balancer::pause(bool drop) {
  paused_ = true;
  drop_requested_ |= drop;
}

void balancer::leave_ranks(std::span<const std::uint8_t> gone, const recovery& found) {
  if (gone.empty()) return;
  const placement before = parts_.live.current();
  std::vector<std::int32_t> changed;
  for (int layer = 0; layer < before.layers(); ++layer) {
    const std::span<const std::int32_t> held = before.experts_of(layer);
    bool left = false;
    bool recovered = false;
    for (int slot = 0; slot < before.slots(); ++slot) {
      if (held[slot] == no_expert || gone[before.layout().rank_of(slot)] == 0) continue;
      parts_.live.set_expert(layer, slot, no_expert);
      left = true;
    }
    if (!left) continue;
    for (const lost_place& lost : found.lost) {
      if (lost.layer != layer) continue;
      parts_.live.set_expert(layer, lost.slot, lost.expert);
      recovered = true;
    }
    parts_.live.refresh(layer, recovered ? found.left : before, true);
    changed.push_back(layer);
  }
  if (!changed.empty()) parts_.weights.publish(changed);
  std::erase_if(damaged_, [&](const ballast_damage& d) {
    return parts_.live.current().experts_of(d.layer)[d.slot] != d.expert;
  });
}

void balancer::finish() {
  // A mismatch is found by all ranks in the same vote; of any other failure they may not know.
  if (dead_status_ != BALLAST_OK && dead_status_ != BALLAST_ERROR_CONFIG_MISMATCH &&
      parts_.ranks > 1)
    throw error(dead_status_, dead_text_);
  const double deadline = parts_.config.config.deadline_seconds;
  const auto start = steady_clock::now();
  const auto require = [&](bool in_time) {
    if (in_time) return;
    throw error(BALLAST_ERROR_DEADLINE, fmt::format("step {}, phase {}: no answer within {} s",
                                                    step_, phase_names[phase_], deadline));
  };
  transfer_.drain();
  const auto meanwhile = [this] { transfer_.progress(); };
  for (std::int64_t s = step_; s < step_ + parts_.config.config.consensus_lag; ++s) {
    if (!votes_.due(s)) continue;
    require(wait_until(votes_.request(s), deadline, meanwhile));
    votes_.take(s);
  }
  while (!post_reduce()) require(seconds_since(start) <= deadline);
  if (reduce_request_ != MPI_REQUEST_NULL)
    require(wait_until(reduce_request_, deadline, meanwhile));
  while (!transfer_.finished()) {
    transfer_.progress();
    require(seconds_since(start) <= deadline);
  }
}

ballast_counters balancer::counters() const {
  ballast_counters now = counters_;
  now.steps = step_;
  now.experts_damaged = static_cast<std::int32_t>(damaged_.size());
  if (last_commit_step_ >= 0) now.steps_since_commit = step_ - 1 - last_commit_step_;
  return now;
}

const ballast_epoch* balancer::report(int index) const {
  const std::int64_t kept =
      std::min<std::int64_t>(reports_made_, static_cast<std::int64_t>(reports_.size()));
  if (index < 0 || index >= kept) return nullptr;
  return &reports_[(reports_made_ - 1 - index) % reports_.size()];
}

bool balancer::drill_now(drill_kind kind) const {
  const drill& d = parts_.config.drill;
  return d.kind == kind && d.rank == parts_.rank && d.epoch == epoch_.epoch;
}

void balancer::log_events() const {
  const std::vector<std::string> events = events_.lines();
  for (std::size_t i = 0; i < events.size(); i += events_in_line) {
    const auto first = events.begin() + static_cast<std::ptrdiff_t>(i);
    const std::size_t count = std::min(events_in_line, events.size() - i);
    parts_.log(BALLAST_LOG_WARNING,
               fmt::format("rank {}: events: {}", parts_.rank,
                           fmt::join(first, first + static_cast<std::ptrdiff_t>(count), ", ")));
  }
}

void balancer::fall_silent() {
  const char* phase = phase_names[phase_];
  const std::string names = silent_ranks(parts_.weight_comm, roll_call_seconds);
  dead_text_ = fmt::format("step {}, phase {}: ", step_, phase) +
               (names.empty() ? "every rank answers, but the vote did not complete"
                              : fmt::format("no answer from rank {}", names)) +
               fmt::format(" within {} s", parts_.config.config.deadline_seconds);
  log_events();
  const std::vector<std::string> events = events_.lines();
  const auto last = events.end() -
                    static_cast<std::ptrdiff_t>(std::min<std::size_t>(events.size(), events_shown));
  parts_.log(BALLAST_LOG_ERROR, fmt::format("rank {}: {}; last events: {}", parts_.rank, dead_text_,
                                            fmt::join(last, events.end(), ", ")));
  throw error(BALLAST_ERROR_DEADLINE, dead_text_);
}

}  // namespace ballast
