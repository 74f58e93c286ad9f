#pragma once
// One case of `ballast bench plan`: a shape and its loads, planned by a policy of Ballast and by
// the plain greedy in turn, timed, and judged by what their placements give.

#include <cstdint>
#include <memory>
#include <span>
#include <string>
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
  double layer_balance = 0;           ///< mean over layers of mean / largest rank load
  double greedy_balance = 0;
  std::int64_t greedy_illegal = 0;  ///< layers where the greedy puts an expert twice on a rank
  /// Layers with an illegal placement; and 1 each for a balance other than reported and, of
  /// policies that claim to be as good as the greedy, one more than 0.1 % below it over the layers
  /// where the greedy's placement is legal.
  std::int64_t wrong = 0;
};

class plan_case {
 public:
  /// `shape` is kept.
  plan_case(const plan_shape& shape, layer_loads loads, int threads, bool equal_shares,
            bool cold_start);

  /// Why Ballast refuses to plan this case by this policy; "" if it does not.
  std::string refusal(const std::string& policy);
  /// At most so many repetitions, fewer where they take long. Throws job_error when Ballast
  /// refuses.
  plan_outcome measure(const std::string& policy, int repetitions);
  const layer_loads& loads() const { return loads_; }

 private:
  void plan_once(plan_outcome& out);
  void greedy_once(plan_outcome& out);
  void judge(const std::string& policy, plan_outcome& out) const;
  double largest_load(std::span<const std::int64_t> loads, int layer,
                      const plan_outcome& out) const;
  bool is_legal(int layer, const plan_outcome& out) const;
  bool keeps_groups(int layer, const plan_outcome& out) const;
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
