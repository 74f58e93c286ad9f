#pragma once
// What `ballast plan` was asked to do.

#include <cstdint>
#include <string>
#include <vector>

#include "jobs/move_limit.hpp"
#include "jobs/prediction.hpp"
#include "runtime/ballast.h"

namespace ballast {

struct plan_options {
  std::string loads;
  std::string generate;
  std::string window;
  bool series = false;            ///< the window's steps as a series, not their sum
  std::int64_t series_steps = 1;  ///< that make one window of the series
  prediction_options prediction;
  std::vector<std::int32_t> ranks;
  std::vector<std::int32_t> slots_per_rank;
  std::vector<std::int64_t> slots_budget;        ///< of a rank in all layers
  std::vector<std::int64_t> slots_budget_bytes;  ///< the same in bytes
  std::int32_t ranks_per_node = 0;               ///< 0: all on one node
  std::string topology;
  std::int32_t groups = 0;  ///< 0: the model's, or 1
  std::vector<std::string> policies = {BALLAST_DEFAULT_POLICY};
  bool compatible = false;
  std::string objective = "tokens";
  bool equal_shares = false;
  bool cold_start = false;
  std::int64_t token_ns = 0;  ///< 0: not known
  std::int64_t horizon = 0;   ///< 0: none
  std::string current;
  std::vector<move_limit> max_moves = {{}};
  std::vector<std::int64_t> max_bytes = {-1};
  bool curve = false;
  bool explain = false;
  std::int64_t expert_bytes = 0;  ///< 0: the model's, or unknown
  std::string model;
  std::int32_t threads = 1;
  std::uint64_t seed = 1;
  std::string out;
  std::string json;
  bool quiet = false;
};

/// One combination of the options that may be lists.
struct plan_choice {
  std::int32_t ranks = 0;
  std::int32_t slots_per_rank = 0;      ///< or one of:
  std::int64_t slots_budget = 0;        ///< slots per layer are chosen within it
  std::int64_t slots_budget_bytes = 0;  ///< the same in bytes
  std::string policy;
  move_limit max_moves;
  std::int64_t max_bytes = -1;
};

/// All combinations; the ranks change slowest, then the slots, the policy and the budgets. Throws
/// job_error(usage) if there are more than a table can hold, or slots are not given in one way.
std::vector<plan_choice> plan_choices(const plan_options& options);

}  // namespace ballast
