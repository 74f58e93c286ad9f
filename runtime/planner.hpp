#pragma once
// The planner's own thread: takes loads and the live placement, makes plan, schedule and this
// rank's part of it. It touches no MPI and no clock but for its own duration. One job at a time;
// the caller reads and writes `job` only while it is not running.

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "policies/measured.hpp"
#include "policies/payback.hpp"
#include "policies/plan.hpp"
#include "policies/prediction.hpp"
#include "policies/savings.hpp"
#include "policies/schedule.hpp"
#include "policies/worth.hpp"
#include "runtime/exchange.hpp"
#include "runtime/rank_marks.hpp"

namespace ballast {

/// What does not change between jobs.
struct planner_settings {
  int rank = 0;
  cluster_map cluster;
  std::string policy;
  const plugin_policy* plugin = nullptr;
  plan_objective objective = plan_objective::tokens;
  bool equal_shares = false;
  bool compatible = false;
  std::int32_t groups = 1;
  std::uint64_t seed = 1;
  std::int32_t threads = 1;
  std::vector<std::int32_t> usable_slots;
  std::vector<std::int32_t> slots_per_layer;  ///< [layers] or empty
  std::vector<std::int32_t> rows_per_layer;   ///< [layers] or empty
  std::int32_t spare_rows = 0;
  rank_marks marks;
  plan_limits limits;
  std::int32_t moves_saved = 0;  ///< 0: none; else so many times the moves per layer (savings.hpp)
  std::int64_t expert_bytes = 0;
  std::int32_t staging_rows = 2;
  std::int32_t receives_per_batch = 4;
  way_choice way = way_choice::automatic;
  worth_limits worth;
  prediction_settings prediction;
  std::int32_t memory_windows = 1;  ///< past windows kept, the newest included
  std::size_t cells = 0;            ///< layers * experts
  payback_terms payback;            ///< as stated; what is not known of it is measured
  std::vector<std::int64_t> past;   ///< [any, cells] windows before the first job, oldest first
};

struct planner_job {
  // In.
  bool reschedule = false;          ///< only a new schedule from `current` to the plan made before
  std::vector<std::int64_t> loads;  ///< [layers, experts] of the newest window
  std::int64_t passes = 1;          ///< steps that the loads cover
  measured_times measured;          ///< in these steps
  placement current;
  std::vector<slot_ref> distrusted;
  // Out.
  plan made;                 ///< for the window that is expected next
  payback_terms terms;       ///< that it was judged by
  ballast::payback payback;  ///< of the moves
  double balance_met = 1.0;  ///< of the newest window under `current`
  schedule steps;
  rank_operations operations;
  std::string not_worth;     ///< why nothing should be done, or empty
  std::string failure;       ///< what was thrown, or empty
  std::uint64_t digest = 0;  ///< of plan, decision and schedule
  double seconds = 0;
};

class planner {
 public:
  /// Starts the thread, bound near `cpus` and off `avoid_cpu` (hwloc_node.hpp).
  planner(planner_settings settings, std::vector<std::int32_t> cpus, int avoid_cpu);
  ~planner();
  planner(const planner&) = delete;

  planner_job& job() { return job_; }

  /// Adds the job's loads to the windows that later jobs are foretold from. To be called where all
  /// ranks do, while nothing runs; does not allocate.
  void remember();
  /// Windows remembered, and the loads of the index-th, newest = 0; empty if there is none. To be
  /// called by the caller of remember().
  int past_windows() const { return static_cast<int>(std::min(remembered_, memory_.size())); }
  std::span<const std::int64_t> past_window(int index) const;
  /// For the jobs to come. While nothing runs.
  void mark_ranks(rank_marks marks) { settings_.marks = std::move(marks); }
  void submit();
  bool running() const { return running_.load(std::memory_order_acquire); }
  const std::string& binding() const { return binding_; }

 private:
  void serve(std::vector<std::int32_t> cpus, int avoid_cpu);
  void work();
  void make_plan_of_job();
  void price_as_measured(payback_terms& terms) const;
  void remember(std::span<const std::int64_t> loads);
  std::vector<std::int64_t> series() const;

  planner_settings settings_;
  planner_job job_;
  move_savings savings_;
  std::vector<std::vector<std::int64_t>> memory_;  // [memory_windows - 1] a ring
  std::size_t remembered_ = 0;                     // windows ever
  std::atomic<bool> running_ = false;
  std::mutex mutex_;
  std::condition_variable wake_;
  bool submitted_ = false;
  bool stopping_ = false;
  bool bound_ = false;
  std::string binding_;
  std::thread thread_;  // last: it uses all of the above
};

}  // namespace ballast
