#include "runtime/planner.hpp"

#include <algorithm>
#include <chrono>
#include <exception>

#include "policies/activations.hpp"
#include "policies/balance.hpp"
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

/// Sum of the mean rank loads over the sum of the largest; 1 when idle.
double balance_of(std::span<const std::int64_t> loads, const placement& place, int ranks,
                  const speed_scale& speeds) {
  const auto experts = static_cast<std::size_t>(place.experts());
  double total = 0;
  double fullest = 0;
  for (int layer = 0; layer < place.layers(); ++layer) {
    const auto own = loads.subspan(layer * experts, experts);
    for (const std::int64_t load : own) total += static_cast<double>(load) * share_one;
    fullest += static_cast<double>(fullest_rank_load(
        own, place.experts_of(layer), place.shares_of(layer), place.layout(), speeds));
  }
  return fullest > 0 ? total / ranks / fullest : 1.0;
}

}  // namespace

planner::planner(planner_settings settings, std::vector<std::int32_t> cpus, int avoid_cpu)
    : settings_(std::move(settings)),
      savings_(settings_.limits.max_moves_per_layer, settings_.moves_saved),
      memory_(static_cast<std::size_t>(settings_.memory_windows - 1),
              std::vector<std::int64_t>(settings_.cells)),
      thread_([this, cpus = std::move(cpus), avoid_cpu] { serve(cpus, avoid_cpu); }) {
  const std::span<const std::int64_t> past = settings_.past;
  for (std::size_t i = 0; i < past.size(); i += settings_.cells)
    remember(past.subspan(i, settings_.cells));
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
    } catch (...) {  // a plug-in may throw anything
      job_.failure = "an unknown exception";
    }
    running_.store(false, std::memory_order_release);
    lock.lock();
  }
}

/// [windows, layers, experts] what is remembered and the newest, oldest first.
std::vector<std::int64_t> planner::series() const {
  std::vector<std::int64_t> windows;
  for (std::size_t age = past_windows(); age > 0; --age) {
    const auto& window = memory_[(remembered_ - age) % memory_.size()];
    windows.insert(windows.end(), window.begin(), window.end());
  }
  windows.insert(windows.end(), job_.loads.begin(), job_.loads.end());
  return windows;
}

void planner::remember() { remember(job_.loads); }

void planner::remember(std::span<const std::int64_t> loads) {
  if (memory_.empty()) return;
  auto& oldest = memory_[remembered_++ % memory_.size()];
  std::ranges::copy(loads, oldest.begin());
}

std::span<const std::int64_t> planner::past_window(int index) const {
  if (index < 0 || index >= past_windows()) return {};
  return memory_[(remembered_ - 1 - index) % memory_.size()];
}

void planner::make_plan_of_job() {
  const std::vector<std::int64_t> windows = series();
  const forecast expected =
      predict({windows, job_.current.layers(), job_.current.experts()}, settings_.prediction);
  plan_request request;
  request.loads = expected.loads;
  request.series = windows;
  request.deviations = expected.deviations;
  request.current = &job_.current;
  request.cluster = &settings_.cluster;
  request.usable_slots = settings_.usable_slots;
  request.slots_per_layer = settings_.slots_per_layer;
  request.spare_rows = settings_.spare_rows;
  request.rank_speed = settings_.marks.speed;
  request.masked_ranks = settings_.marks.masked;
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
  const auto hosts = static_cast<int>(
      std::ranges::count_if(settings_.usable_slots, [](std::int32_t slots) { return slots > 0; }));
  if (settings_.moves_saved > 0) {
    move_savings::limit(savings_.open_epoch(expected.loads, job_.current, std::max(hosts, 1)),
                        job_.current.layers(), request.limits);
  }
  request.equal_shares = settings_.equal_shares;
  job_.terms = settings_.payback;
  if (job_.terms.token_ps == 0) price_as_measured(job_.terms);
  if (settings_.prediction.mode == prediction_mode::sum) {
    const auto count = static_cast<std::int64_t>(windows.size() / job_.loads.size());
    request.passes *= count;
  }
  job_.terms.window_steps = request.passes;
  job_.made = make_paying_plan(request, job_.terms, job_.payback);
  job_.not_worth = why_not_worth(job_.made, job_.made.living_ranks, settings_.worth);
  // A rank that is to be left is left whatever it gains.
  if (settings_.marks.occupied(job_.current) && !job_.made.changed.empty()) job_.not_worth.clear();
  if (settings_.moves_saved > 0 && job_.not_worth.empty()) savings_.spend(job_.made.moves());
  job_.balance_met = settings_.objective == plan_objective::tokens
                         ? balance_of(job_.loads, job_.current, job_.made.living_ranks,
                                      settings_.marks.scale(job_.current.layout().ranks()))
                         : job_.made.balance_before();
}

// What is stated stays as it is, so that runs can be repeated; measured is all or, where no rank
// tells the time of its passes, nothing.
void planner::price_as_measured(payback_terms& terms) const {
  const measured_times& measured = job_.measured;
  if (std::ranges::all_of(measured.pass_ns, [](std::int64_t ns) { return ns == 0; })) return;
  timed_window window{job_.loads, job_.passes, settings_.objective == plan_objective::activations};
  std::vector<std::int64_t> activations;
  if (window.whole) {
    for (const std::int64_t load : job_.loads)
      activations.push_back(expected_activations(load, job_.passes));
    window.work = activations;
  }
  terms.token_ps = measured_token_ps(
      window, job_.current, settings_.marks.scale(job_.current.layout().ranks()), measured.pass_ns);
  if (terms.token_ps > 0) terms.link_ns_per_mib = measured_link_costs(measured.links);
}

void planner::work() {
  const auto start = std::chrono::steady_clock::now();
  if (!job_.reschedule) {
    make_plan_of_job();
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
    request.rows_per_layer = settings_.rows_per_layer;
    request.gone_ranks = settings_.marks.gone;
    job_.steps = make_schedule(request);
  }
  job_.operations = operations_of_rank(job_.steps, settings_.rank);
  job_.digest = digest_of(job_);
  job_.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

}  // namespace ballast
