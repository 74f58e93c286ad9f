#include "tests/mpi/oracle.hpp"

#include <sched.h>

#include <algorithm>

#include "tests/mpi/made_up_weights.hpp"

namespace ballast {
namespace {

planner_settings settings_of(const ballast_config& c, int ranks, const cluster_map& cluster,
                             std::int64_t expert_bytes_max) {
  planner_settings s;
  s.rank = 0;
  s.cluster = cluster;
  s.policy = c.policy == nullptr ? BALLAST_DEFAULT_POLICY : c.policy;
  s.compatible = c.compatible != 0;
  s.equal_shares = c.equal_shares != 0;
  s.groups = c.groups;
  s.seed = c.seed;
  s.threads = 1;  // whatever the ranks use
  if (c.compatible == 0 || c.spare_rows > 0) s.usable_slots.assign(ranks, c.slots_per_rank);
  if (c.slots_per_layer != nullptr) {
    s.slots_per_layer.assign(c.slots_per_layer, c.slots_per_layer + c.layers);
    s.rows_per_layer = s.slots_per_layer;
    for (std::int32_t& rows : s.rows_per_layer) rows += c.spare_rows;
  }
  s.spare_rows = c.spare_rows;
  s.marks = read_rank_marks(c.rank_speed, c.masked_ranks, ranks);
  s.limits = {c.max_moves, c.max_bytes};
  s.expert_bytes = expert_bytes_max;
  s.staging_rows = c.staging_experts;
  s.receives_per_batch = c.receives_per_batch;
  s.way = static_cast<way_choice>(c.way);
  s.worth = {c.balance_min_permille, c.gain_min_permille};
  s.prediction = {static_cast<prediction_mode>(c.prediction), 0, c.decay_shift};
  s.memory_windows = c.memory_windows;
  s.cells = static_cast<std::size_t>(c.layers) * c.experts;
  if (c.past_windows != nullptr)
    s.past.assign(c.past_windows, c.past_windows + c.past_window_count * s.cells);
  s.payback = {c.token_ns * ps_per_ns, 1, c.horizon, {}};
  return s;
}

// Beyond the interval a window is rounded up to a multiple of it.
std::size_t window_of(const ballast_config& c) {
  if (c.window == 0) return static_cast<std::size_t>(c.interval);
  if (c.window <= c.interval) return static_cast<std::size_t>(c.window);
  return static_cast<std::size_t>((c.window + c.interval - 1) / c.interval * c.interval);
}

}  // namespace

oracle::oracle(const ballast_config& config, int ranks, const cluster_map& cluster,
               std::int64_t expert_bytes_max)
    : window_steps_(window_of(config)),
      planner_(settings_of(config, ranks, cluster, expert_bytes_max), {}, -1) {}

void oracle::plan(const placement& current) {
  planner_job& job = planner_.job();
  job.reschedule = false;
  job.distrusted.clear();
  job.current = current;
  job.loads.assign(passes_.back().size(), 0);
  const std::size_t used = std::min(window_steps_, passes_.size());
  for (std::size_t p = passes_.size() - used; p < passes_.size(); ++p) {
    for (std::size_t i = 0; i < job.loads.size(); ++i) job.loads[i] += passes_[p][i];
  }
  job.passes = static_cast<std::int64_t>(used);
  window_tokens_ = 0;
  for (const std::int64_t load : job.loads) window_tokens_ += load;
  planner_.submit();
  while (planner_.running()) sched_yield();
}

std::vector<std::int64_t> oracle::bytes_by_link() {
  std::vector<std::int64_t> bytes(BALLAST_LINK_CLASSES, 0);
  for (const scheduled_move& move : expected().steps.moves) {
    bytes[static_cast<int>(move.link)] += made_up_weights::expert_bytes(move.layer);
  }
  return bytes;
}

}  // namespace ballast
