// What all ranks do alike at the step where they read the same vote.
#include <fmt/format.h>

#include <algorithm>
#include <limits>

#include "runtime/balancer.hpp"
#include "runtime/error.hpp"
#include "runtime/trouble.hpp"

namespace ballast {
namespace {

constexpr int divergences_max = 2;

// Of numbers that are not negative: a layer's sum fits, that of all layers need not.
std::int64_t saturating_sum(std::span<const std::int64_t> numbers) {
  std::int64_t sum = 0;
  for (const std::int64_t number : numbers) {
    if (__builtin_add_overflow(sum, number, &sum)) return std::numeric_limits<std::int64_t>::max();
  }
  return sum;
}

}  // namespace

void balancer::transition(const vote& all) {
  switch (phase_) {
    case BALLAST_PHASE_REDUCE:
    case BALLAST_PHASE_PLAN:
      on_planned(all);
      break;
    case BALLAST_PHASE_EXCHANGE:
      on_arrived(all);
      break;
    case BALLAST_PHASE_DRAIN:
      on_drained(all);
      break;
    default:
      break;
  }
  publish();
}

void balancer::on_planned(const vote& all) {
  if (all.trouble != nothing) return begin_drain(describe_trouble(all), false);
  if (all.finished() == 0) return;
  const planner_job& job = parts_.planning.job();
  if (all.digest != ~all.not_digest) {
    ++counters_.plans_diverged;
    events_.add(step_, protocol_event::diverged);
    std::string reason = fmt::format("plans differ: digests {:016x} to {:016x}, {:016x} on rank {}",
                                     all.digest, ~all.not_digest, job.digest, parts_.rank);
    if (++diverged_in_a_row_ >= divergences_max) {
      counters_.balancing = 0;
      reason += "; balancing is switched off";
    }
    return close(BALLAST_OUTCOME_DROPPED, reason);
  }
  diverged_in_a_row_ = 0;
  events_.add(step_, protocol_event::agreed, static_cast<std::int64_t>(job.steps.batches.size()));
  epoch_.digest = job.digest;
  if (!job.reschedule) {
    epoch_.window_tokens = saturating_sum(job.loads);
    epoch_.balance_before = job.balance_met;
    epoch_.balance_planned = job.made.balance_after();
    epoch_.balance_bound = job.made.balance_bound();
    epoch_.seconds_saved_per_step = static_cast<double>(job.payback.saved_ns) * 1e-9;
    epoch_.transfer_seconds = static_cast<double>(job.payback.transfer_ns_total) * 1e-9;
    epoch_.payback_steps = job.payback.steps;
    for (std::size_t link = 0; link < job.payback.transfer_ns.size(); ++link)
      epoch_.transfer_seconds_by_link[link] =
          static_cast<double>(job.payback.transfer_ns[link]) * 1e-9;
    epoch_.token_seconds = static_cast<double>(job.terms.token_ps) * 1e-12;
    epoch_.token_measured = parts_.config.config.token_ns == 0 && job.terms.token_ps > 0;
    epoch_.payback_refused = job.payback.refused;
    parts_.planning.remember();
    if (!job.not_worth.empty()) return close(BALLAST_OUTCOME_UNCHANGED, job.not_worth);
    epoch_.layers_changed = static_cast<std::int32_t>(job.made.changed.size());
    if (parts_.config.config.mode == BALLAST_MODE_RECORD)
      return close(BALLAST_OUTCOME_RECORDED, "recording only");
  }
  begin_exchange();
}

std::string balancer::describe_trouble(const vote& all) const {
  if (!is_deadline(all.trouble)) return trouble_text(all.trouble);
  log_events();
  return fmt::format("{} ({}); none is further behind than rank {}", trouble_text(all.trouble),
                     name_of_phase(phase_), all.slowest());
}

void balancer::begin_exchange() {
  const planner_job& job = parts_.planning.job();
  if (epoch_.retries == 0) {
    exchange_start_ = steady_clock::now();
    epoch_.batches = static_cast<std::int32_t>(job.steps.batches.size());
    if (drill_now(drill_kind::checksum)) transfer_.corrupt_next_arrival();
  }
  transfer_.begin(job.steps, job.operations);
  if (epoch_.retries == 0 && drill_now(drill_kind::source)) damage_a_source();
  started_ = 0;
  committed_ = 0;
  enter(BALLAST_PHASE_EXCHANGE);
  // Layers whose experts stay change their shares at once: no byte has to move for that.
  for (const std::int32_t layer : job.made.changed) {
    if (std::ranges::equal(parts_.live.current().experts_of(layer),
                           job.made.target.experts_of(layer)))
      marked_.add(layer);
  }
  refresh_marked(true);
  if (job.steps.batches.empty()) return close(BALLAST_OUTCOME_COMMITTED, "shares only");
  start_batches();
}

// A rehearsal: the first copy that this rank will send and that has a good twin elsewhere, one that
// this epoch leaves alone.
void balancer::damage_a_source() {
  const planner_job& job = parts_.planning.job();
  for (const scheduled_move& move : job.steps.moves) {
    if (move.source_rank != parts_.rank || move.target_rank == parts_.rank || move.forwards >= 0)
      continue;
    const std::span<const std::int32_t> now = parts_.live.current().experts_of(move.layer);
    const std::span<const std::int32_t> then = job.made.target.experts_of(move.layer);
    for (int slot = 0; slot < static_cast<int>(now.size()); ++slot) {
      if (slot != move.source_slot && now[slot] == move.expert && then[slot] == move.expert) {
        return transfer_.corrupt_source(move);
      }
    }
  }
}

// Rows that will be written stop serving on all ranks at this step; nothing of this pass uses them
// any more. What this step has committed goes into the tables with that: on a GPU each publication
// is a gap between two passes.
void balancer::start_batches() {
  const auto& batches = parts_.planning.job().steps.batches;
  const int first = started_;
  while (started_ < static_cast<int>(batches.size()) && started_ < committed_ + 2 &&
         !(batches[started_].after_previous_commit && committed_ < started_)) {
    vacate(started_++);
  }
  publish();
  for (int batch = first; batch < started_; ++batch) {
    transfer_.start(batch);
    events_.add(step_, protocol_event::batch_started, batch);
  }
}

void balancer::vacate(int index) {
  const schedule& steps = parts_.planning.job().steps;
  const batch& b = steps.batches[index];
  for (std::int32_t m = b.first_move; m < b.first_move + b.move_count; ++m) {
    const scheduled_move& move = steps.moves[m];
    if (move.way != move_way::vacate) continue;
    const int leaving = parts_.live.current().experts_of(move.layer)[move.target_slot];
    BALLAST_EXPECT(leaving == no_expert || parts_.live.replicas(move.layer, leaving) > 1,
                   "an expert would lose its last replica");
    parts_.live.set_expert(move.layer, move.target_slot, no_expert);
    marked_.add(move.layer);
  }
  refresh_marked(false);
}

void balancer::on_arrived(const vote& all) {
  commit_arrived(all.finished());
  if (phase_ == BALLAST_PHASE_IDLE) return;
  if (all.bad_move != nothing) {
    ++counters_.checksums_failed;
    bad_move_ = parts_.planning.job().steps.moves[all.bad_move];
    events_.add(step_, protocol_event::bad_checksum, static_cast<std::int64_t>(all.bad_move));
    const std::string reason = fmt::format(
        "wrong bytes: layer {}, expert {}, from slot {} on rank {} to slot {} on rank {}",
        bad_move_.layer, bad_move_.expert, bad_move_.source_slot, bad_move_.source_rank,
        bad_move_.target_slot, bad_move_.target_rank);
    if (parts_.rank == 0) parts_.log(BALLAST_LOG_WARNING, reason);
    return begin_drain(reason, epoch_.retries < retries_max);
  }
  if (all.trouble != nothing) return begin_drain(describe_trouble(all), false);
  start_batches();
}

void balancer::commit_arrived(std::uint64_t arrived) {
  while (static_cast<std::uint64_t>(committed_) < arrived) {
    commit_batch(committed_++);
    phase_start_ = steady_clock::now();
  }
  if (committed_ == static_cast<int>(parts_.planning.job().steps.batches.size()))
    close(BALLAST_OUTCOME_COMMITTED, "all batches");
}

void balancer::commit_batch(int index) {
  const schedule& steps = parts_.planning.job().steps;
  const batch& b = steps.batches[index];
  for (std::int32_t m = b.first_move; m < b.first_move + b.move_count; ++m) {
    const scheduled_move& move = steps.moves[m];
    if (move.way == move_way::staged && move.target_rank == parts_.rank) {
      const int row = move.target_slot - parts_.config.layout.first(parts_.rank);
      unstaged_.push_back({move.layer, transfer_.landing(move, index), {row, -1}});
    }
    parts_.live.set_expert(move.layer, move.target_slot, move.expert);
    marked_.add(move.layer);
    ++epoch_.moves;
    epoch_.bytes[static_cast<int>(move.link)] += memory_.expert_bytes(move.layer);
  }
  memory_.copy(unstaged_);
  unstaged_.clear();
  for (std::int32_t r = b.first_release; r < b.first_release + b.release_count; ++r) {
    parts_.live.set_expert(steps.releases[r].layer, steps.releases[r].slot, no_expert);
    marked_.add(steps.releases[r].layer);
  }
  BALLAST_EXPECT(parts_.live.experts_lost() == 0, "an expert has lost its last replica");
  if (!damaged_.empty()) forget_damage(index);
  refresh_marked(true);
  epoch_.step_committed = step_;
  last_commit_step_ = step_;
  events_.add(step_, protocol_event::batch_committed, index);
}

void balancer::begin_drain(const std::string& reason, bool retry) {
  events_.add(step_, protocol_event::drain_began);
  drop_reason_ = reason;
  reschedule_after_drain_ = retry;
  transfer_.drain();
  enter(BALLAST_PHASE_DRAIN);
}

void balancer::on_drained(const vote& all) {
  if (all.trouble != nothing) reschedule_after_drain_ = false;
  if (all.finished() == 0) return;
  if (!reschedule_after_drain_) return close(BALLAST_OUTCOME_DROPPED, drop_reason_);
  const slot_ref source = {bad_move_.layer, bad_move_.source_slot};
  const bool others = parts_.live.replicas(bad_move_.layer, bad_move_.expert) > 1;
  if (all.bad_source == 0) {
    if (!others) return close(BALLAST_OUTCOME_DROPPED, note_damage());
    quarantine(source, bad_move_.expert);
  }
  if (others && bad_move_.forwards < 0) parts_.planning.job().distrusted.push_back(source);
  begin_reschedule();
}

// The copy is bad and others are good: stop routing to it. The slot is empty until a later plan
// fills it.
void balancer::quarantine(const slot_ref& slot, int expert) {
  if (parts_.live.current().experts_of(slot.layer)[slot.slot] != expert) return;
  parts_.live.set_expert(slot.layer, slot.slot, no_expert);
  marked_.add(slot.layer);
  refresh_marked(true);
  ++counters_.slots_quarantined;
  events_.add(step_, protocol_event::quarantined, slot.slot);
  if (parts_.rank == 0) {
    parts_.log(BALLAST_LOG_ERROR, fmt::format("layer {}, slot {}: the weights of expert {} are "
                                              "damaged there; the slot is out of service",
                                              slot.layer, slot.slot, expert));
  }
}

// The copy is bad and there is no other: it goes on serving, and the engine has to load it again.
std::string balancer::note_damage() {
  const scheduled_move& m = bad_move_;
  const bool known = std::ranges::any_of(damaged_, [&](const ballast_damage& d) {
    return d.layer == m.layer && d.slot == m.source_slot;
  });
  if (!known) {
    damaged_.push_back(
        {sizeof(ballast_damage), m.layer, m.expert, m.source_slot, m.source_rank, epoch_.epoch});
  }
  const std::string text = fmt::format(
      "layer {}, expert {}: its only copy, in slot {} on rank {}, is damaged; load it "
      "again (ballast_damaged)",
      m.layer, m.expert, m.source_slot, m.source_rank);
  if (parts_.rank == 0) parts_.log(BALLAST_LOG_ERROR, text);
  return text;
}

// What a committed batch has shown to be healed: the bytes that it moved were verified.
void balancer::forget_damage(int committed_batch) {
  const schedule& steps = parts_.planning.job().steps;
  const batch& b = steps.batches[committed_batch];
  const std::span<const scheduled_move> moves =
      std::span(steps.moves).subspan(b.first_move, b.move_count);
  std::erase_if(damaged_, [&](const ballast_damage& d) {
    const bool verified = parts_.config.config.verify == BALLAST_VERIFY_FULL &&
                          std::ranges::any_of(moves, [&](const scheduled_move& m) {
                            return m.layer == d.layer && m.source_slot == d.slot && m.forwards < 0;
                          });
    return verified || parts_.live.current().experts_of(d.layer)[d.slot] != d.expert;
  });
}

void balancer::begin_reschedule() {
  ++epoch_.retries;
  planner_job& job = parts_.planning.job();
  job.reschedule = true;
  job.current = parts_.live.current();
  parts_.planning.submit();
  enter(BALLAST_PHASE_PLAN);
}

void balancer::close(int outcome, std::string_view reason) {
  if (phase_ == BALLAST_PHASE_EXCHANGE || epoch_.batches > 0)
    epoch_.exchange_seconds = seconds_since(exchange_start_);
  epoch_.bytes_received = transfer_.bytes_received() - bytes_received_before_;
  epoch_.outcome = outcome;
  reason.copy(epoch_.reason, sizeof(epoch_.reason) - 1);
  if (outcome == BALLAST_OUTCOME_COMMITTED) last_commit_step_ = step_;
  counters_.epochs_committed += outcome == BALLAST_OUTCOME_COMMITTED;
  counters_.epochs_dropped += outcome == BALLAST_OUTCOME_DROPPED;
  counters_.epochs_unchanged += outcome == BALLAST_OUTCOME_UNCHANGED;
  reports_[reports_made_++ % reports_.size()] = epoch_;
  events_.add(step_, protocol_event::closed, outcome);
  if (outcome == BALLAST_OUTCOME_DROPPED && parts_.rank == 0) {
    parts_.log(BALLAST_LOG_WARNING,
               fmt::format("epoch {} dropped at step {}: {}", epoch_.epoch, step_, reason));
  }
  enter(BALLAST_PHASE_IDLE);
}

void balancer::refresh_marked(bool committed) {
  for (const std::int32_t layer : marked_.layers()) {
    parts_.live.refresh(layer, parts_.planning.job().made.target, committed);
    unpublished_.add(layer);
  }
  marked_.clear();
}

void balancer::publish() {
  if (unpublished_.layers().empty()) return;
  parts_.weights.publish(unpublished_.layers());
  tables_changed_ = true;
  unpublished_.clear();
}

}  // namespace ballast
