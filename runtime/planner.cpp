#include "runtime/planner.hpp"

#include <chrono>
#include <exception>

#include "policies/digest.hpp"
#include "topology/hwloc_node.hpp"

namespace ballast {
namespace {

std::uint64_t digest_of(const planner_job& job) {
  digest_builder digest;
  digest.absorb(job.made.digest);
  digest.absorb(std::string_view(job.not_worth));
  for (const scheduled_move& move : job.steps.moves) {
    digest.absorb(static_cast<std::uint64_t>(move.layer) << 32 |
                  static_cast<std::uint32_t>(move.expert));
    digest.absorb(static_cast<std::uint64_t>(move.source_slot) << 32 |
                  static_cast<std::uint32_t>(move.target_slot));
    digest.absorb(static_cast<std::uint64_t>(move.round) << 32 |
                  static_cast<std::uint32_t>(move.forwards));
    digest.absorb(static_cast<std::uint64_t>(move.way) << 32 |
                  static_cast<std::uint32_t>(move.staging_row));
  }
  for (const batch& b : job.steps.batches) {
    digest.absorb(static_cast<std::uint64_t>(b.move_count) << 32 |
                  static_cast<std::uint32_t>(b.release_count));
    digest.absorb(static_cast<std::uint64_t>(b.after_previous_commit));
  }
  return digest.value();
}

}  // namespace

planner::planner(planner_settings settings, std::vector<std::int32_t> cpus, int avoid_cpu)
    : settings_(std::move(settings)),
      thread_([this, cpus = std::move(cpus), avoid_cpu] { serve(cpus, avoid_cpu); }) {
  std::unique_lock lock(mutex_);
  wake_.wait(lock, [this] { return bound_; });
}

planner::~planner() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_all();
  thread_.join();
}

void planner::submit() {
  running_.store(true, std::memory_order_release);
  {
    const std::lock_guard lock(mutex_);
    submitted_ = true;
  }
  wake_.notify_all();
}

void planner::serve(std::vector<std::int32_t> cpus, int avoid_cpu) {
  std::unique_lock lock(mutex_);
  binding_ = bind_this_thread(cpus, avoid_cpu);
  bound_ = true;
  wake_.notify_all();
  for (;;) {
    wake_.wait(lock, [this] { return submitted_ || stopping_; });
    if (stopping_) return;
    submitted_ = false;
    lock.unlock();
    try {
      job_.failure.clear();
      work();
    } catch (const std::exception& e) {
      job_.failure = e.what();
      if (job_.failure.empty()) job_.failure = "an exception without text";
    }
    running_.store(false, std::memory_order_release);
    lock.lock();
  }
}

void planner::work() {
  const auto start = std::chrono::steady_clock::now();
  if (!job_.reschedule) {
    plan_request request;
    request.loads = job_.loads;
    request.current = &job_.current;
    request.cluster = &settings_.cluster;
    request.usable_slots = settings_.usable_slots;
    request.policy = settings_.policy;
    request.plugin = settings_.plugin;
    request.objective = settings_.objective;
    request.passes = job_.passes;
    request.compatible = settings_.compatible;
    request.groups = settings_.groups;
    request.seed = settings_.seed;
    request.threads = settings_.threads;
    request.expert_bytes = settings_.expert_bytes;
    request.limits = settings_.limits;
    job_.made = make_plan(request);
    job_.not_worth = why_not_worth(job_.made, job_.made.living_ranks, settings_.worth);
  }
  job_.steps = {};
  if (job_.not_worth.empty()) {
    schedule_request request;
    request.current = &job_.current;
    request.target = &job_.made.target;
    request.cluster = &settings_.cluster;
    request.staging_rows = settings_.staging_rows;
    request.receives_per_batch = settings_.receives_per_batch;
    request.way = settings_.way;
    request.distrusted = job_.distrusted;
    job_.steps = make_schedule(request);
  }
  job_.operations = operations_of_rank(job_.steps, settings_.rank);
  job_.digest = digest_of(job_);
  job_.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

}  // namespace ballast
