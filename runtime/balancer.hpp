#pragma once
// The step protocol: collect -> reduce -> plan -> agree -> (stage -> commit)* -> idle, one epoch at
// a time.
//
// Every transition is taken on a reduced vote (votes.hpp), which all ranks read at the same step. A
// vote counts only if it was posted after the last transition: `generation` numbers them. Between
// transitions a rank only works and reports `progress`:
//
//   phase     progress             transition, at the step where all ranks read it
//
//   reduce    0                    none
//
//   plan      1: planned, digest   equal digests: exchange, or close; unequal: close, dropped
//
//   exchange  k: batches before k  commit them in order, start the next; all committed: close;
//             have arrived         a bad move, or trouble: drain
//
//   drain     1: nothing is left   quarantine a bad source; reschedule (plan), or close, dropped
//             under way
//
// Trouble on any rank (a planner that threw, a deadline, a pause) travels in the same vote, and so
// does the number of the rank that has finished least.

#include <mpi.h>

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "policies/recovery.hpp"
#include "runtime/backend.hpp"
#include "runtime/event_ring.hpp"
#include "runtime/layer_set.hpp"
#include "runtime/live_placement.hpp"
#include "runtime/load_window.hpp"
#include "runtime/log.hpp"
#include "runtime/mpi_handles.hpp"
#include "runtime/planner.hpp"
#include "runtime/settings.hpp"
#include "runtime/votes.hpp"
#include "runtime/window_report.hpp"

namespace ballast {

/// The parts that the balancer drives; all are owned by the runtime and outlive it.
struct balancer_parts {
  const settings& config;
  MPI_Comm vote_comm;
  MPI_Comm weight_comm;
  int rank;
  int ranks;
  backend& weights;
  live_placement& live;
  planner& planning;
  const log_sink& log;
};

/// "exchange"
const char* name_of_phase(int phase);

class balancer {
 public:
  explicit balancer(const balancer_parts& parts);

  /// Collective; see ballast_step. What it throws, every later call throws again: DEADLINE when
  /// ranks are silent, SYSTEM when a GPU or NCCL has failed. Allocates nothing while nothing goes
  /// wrong.
  void step(ballast_step_result* result);

  std::int64_t step_number() const { return step_; }
  /// Whether the loads of the current pass belong to the window.
  bool listening() const { return listening_; }

  /// See ballast_record_time.
  void record_time(std::int64_t ns);

  void pause(bool drop);
  bool idle() const { return phase_ == BALLAST_PHASE_IDLE; }
  /// While idle: slots of these ranks stop serving. [ranks] nonzero, or empty: none. `found`: what
  /// is left then; its lost experts serve from their slots.
  void leave_ranks(std::span<const std::uint8_t> gone, const recovery& found);
  void resume() { paused_ = drop_requested_ = false; }

  /// Collective, blocking up to the deadline: completes everything under way on this rank, but for
  /// the planner, without committing it. Throws error(DEADLINE) if ranks are silent, and what a
  /// step has thrown if that leaves ranks with different things under way.
  void finish();

  ballast_counters counters() const;
  /// The report of a past epoch, newest = 0; null if there is none.
  const ballast_epoch* report(int index) const;
  /// The only copies that hold wrong bytes; see ballast_damaged.
  std::span<const ballast_damage> damaged() const { return damaged_; }

 private:
  void any_step();
  void busy_step();
  void take_vote();
  void advance();
  bool post_reduce();
  void turn_windows();
  void advance_reduce();
  void advance_plan();
  void advance_drain();
  void check_deadline();
  void on_trigger();
  void warn_if_slow();
  vote my_vote() const;

  void transition(const vote& all);
  void on_planned(const vote& all);
  void on_arrived(const vote& all);
  void on_drained(const vote& all);

  void enter(int phase);
  void begin_exchange();
  void commit_arrived(std::uint64_t arrived);
  void damage_a_source();
  void start_batches();
  void vacate(int index);
  void commit_batch(int index);
  void begin_drain(const std::string& reason, bool retry);
  void begin_reschedule();
  void quarantine(const slot_ref& slot, int expert);
  std::string note_damage();
  void forget_damage(int committed_batch);
  void close(int outcome, std::string_view reason);
  void refresh_marked(bool committed);
  void publish();
  bool drill_now(drill_kind kind) const;
  std::string describe_trouble(const vote& all) const;
  void log_events() const;
  [[noreturn]] void fall_silent();

  static constexpr int retries_max = 2;  // of an epoch

  balancer_parts parts_;
  expert_memory& memory_;
  exchange& transfer_;
  votes votes_;
  event_ring events_;
  ballast_counters counters_ = {};
  std::array<ballast_epoch, 64> reports_ = {};
  std::int64_t reports_made_ = 0;

  std::int64_t step_ = 0;
  std::int64_t steps_to_trigger_;
  bool listening_ = false;
  load_window times_;  // of this rank's passes: nanoseconds, passes that were timed
  std::int64_t step_timed_ = -1;
  std::array<std::int64_t, 2> times_cut_ = {};
  window_report report_;
  bool paused_ = false;
  bool drop_requested_ = false;
  bool stall_rehearsed_ = false;
  int diverged_in_a_row_ = 0;
  std::int64_t last_commit_step_ = -1;
  ballast_status dead_status_ = BALLAST_OK;  // with which every call fails from now on
  std::string dead_text_;

  // Of the epoch in flight.
  int phase_ = BALLAST_PHASE_IDLE;
  std::uint64_t generation_ = 0;
  std::uint64_t progress_ = 0;
  std::uint64_t trouble_ = nothing;
  std::uint64_t bad_source_ = nothing;
  ballast_epoch epoch_ = {};
  MPI_Request reduce_request_ = MPI_REQUEST_NULL;
  steady_clock::time_point epoch_start_;
  steady_clock::time_point phase_start_;
  steady_clock::time_point exchange_start_;
  int started_ = 0;
  int committed_ = 0;
  bool slowness_told_ = false;
  bool reducing_ = true;  // the all-reduce of the window cut last has been posted
  bool reschedule_after_drain_ = false;
  std::string drop_reason_;
  std::int64_t bytes_received_before_ = 0;
  scheduled_move bad_move_ = {};
  layer_set marked_;                   // whose experts have changed, since their tables were made
  layer_set unpublished_;              // whose tables have changed, since they were published
  std::vector<expert_copy> unstaged_;  // of the commit under way, out of staging
  bool tables_changed_ = false;

  std::vector<ballast_damage> damaged_;
};

}  // namespace ballast
