#pragma once
// One row of `ballast bench plan`: a shape and its loads, planned by Ballast and by the plain
// greedy in turn, timed, and judged by what their placements give.

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "jobs/bench/plan_loads.hpp"
#include "jobs/bench/samples.hpp"
#include "runtime/ballast.h"

namespace ballast {

struct plan_outcome {
  samples plan_ms;
  samples greedy_ms;
  ballast_plan_summary summary = {};
  std::vector<std::int32_t> experts;  ///< [layers][slots] of the last plan
  std::vector<std::int32_t> shares;   ///< the same shape
  double balance = 0;                 ///< from experts and shares
  double greedy_balance = 0;
  std::int64_t greedy_illegal = 0;  ///< layers where the greedy puts an expert twice on a rank
  /// Layers with an illegal placement; and 1 each for a balance more than 0.1 % below the greedy's
  /// over the layers where the greedy's placement is legal, and for one other than reported.
  std::int64_t wrong = 0;
};

class plan_case {
 public:
  /// `shape` is kept.
  plan_case(const plan_shape& shape, layer_loads loads, int threads);

  /// Throws job_error when Ballast refuses.
  plan_outcome measure(int repetitions);
  const layer_loads& loads() const { return loads_; }

 private:
  void plan_once(plan_outcome& out);
  void greedy_once(plan_outcome& out);
  void judge(plan_outcome& out) const;
  double largest_load(std::span<const std::int64_t> loads, int layer,
                      const plan_outcome& out) const;
  bool is_legal(int layer, const plan_outcome& out) const;
  bool greedy_is_legal(int layer) const;
  std::span<const std::int64_t> loads_of(int layer) const {
    return std::span(loads_.loads)
        .subspan(static_cast<std::size_t>(layer) * loads_.experts, loads_.experts);
  }

  const plan_shape& shape_;
  layer_loads loads_;
  std::unique_ptr<ballast_topology, decltype(&ballast_topology_destroy)> topology_{
      nullptr, ballast_topology_destroy};
  ballast_plan_request request_;
  std::vector<std::vector<std::int32_t>> greedy_;  // [layers][slots]
};

}  // namespace ballast
