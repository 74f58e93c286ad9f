#pragma once
// What an epoch has to do: the same loads and the same placement, planned once more in this process
// without any message.

#include <cstdint>
#include <vector>

#include "runtime/ballast.h"
#include "runtime/planner.hpp"
#include "topology/cluster_map.hpp"

namespace ballast {

class oracle {
 public:
  /// `config` as given to ballast_create; `cluster` what it was given as topology.
  oracle(const ballast_config& config, int ranks, const cluster_map& cluster,
         std::int64_t expert_bytes_max);

  /// The loads of the next pass, all ranks together: [layers, experts].
  void note_loads(std::vector<std::int64_t> loads) { passes_.push_back(std::move(loads)); }

  /// An epoch was triggered after the last noted pass, under this placement.
  void plan(const placement& current);

  /// The ranks have agreed on the plan of that epoch: later ones are foretold from its window too.
  void remember() { planner_.remember(); }

  /// As ballast_ranks_set.
  void mark_ranks(rank_marks marks) { planner_.mark_ranks(std::move(marks)); }

  /// The plan and schedule that it has to come to.
  const planner_job& expected() { return planner_.job(); }
  /// Tokens of the window that was planned for.
  std::int64_t window_tokens() const { return window_tokens_; }
  /// Bytes of the schedule by link class.
  std::vector<std::int64_t> bytes_by_link();

 private:
  std::vector<std::vector<std::int64_t>> passes_;
  std::size_t window_steps_;
  std::int64_t window_tokens_ = 0;
  planner planner_;
};

}  // namespace ballast
