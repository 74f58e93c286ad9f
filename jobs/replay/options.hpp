#pragma once
// What `ballast replay` was asked to do.

#include <cstdint>
#include <optional>
#include <string>

#include "jobs/move_limit.hpp"
#include "jobs/prediction.hpp"
#include "runtime/ballast.h"

namespace ballast {

struct replay_options {
  std::string trace;
  std::string generate;
  std::string model;
  std::int32_t layers = 0;   ///< 0: all of the source's
  std::int32_t experts = 0;  ///< 0: the source's; otherwise they must agree
  std::int32_t top_k = 0;    ///< 0: the source's, or 1
  std::int32_t slots_per_rank = 0;
  std::int64_t slots_budget = 0;        ///< of a rank in all layers; 0: slots_per_rank in each
  std::int64_t slots_budget_bytes = 0;  ///< the same in bytes
  std::int32_t spare_rows = 0;
  std::int64_t expert_bytes = 0;  ///< 0: the model's, or 256 KiB
  std::int64_t steps = 0;         ///< 0: all of the source's
  std::int64_t interval = 100;
  std::int64_t window = 0;
  prediction_options prediction;
  std::int32_t memory_windows = 32;
  std::int64_t token_ns = 0;  ///< 0: not known
  std::int64_t horizon = 0;   ///< 0: none
  std::string policy = BALLAST_DEFAULT_POLICY;
  bool compatible = false;
  std::string objective = "tokens";
  bool equal_shares = false;
  std::int32_t groups = 0;  ///< 0: the model's, or 1
  move_limit max_moves;
  std::int32_t moves_saved = 0;
  std::int64_t max_bytes = -1;
  double balance_min = 1.0;
  double gain_min = 0.005;
  std::string backend = "auto";
  std::string transport = "auto";
  std::string way = "auto";
  std::string mode = "dynamic";
  std::string verify = "full";
  std::string placement;
  std::string state;
  std::string topology;
  std::int32_t ranks_per_node = 0;
  std::int32_t staging_experts = 2;
  std::int32_t receives_per_batch = 8;
  std::optional<std::int64_t> bytes_per_step;  ///< 0: unpaced; the library chooses if not given
  std::int32_t nccl_ctas = 2;
  std::int32_t hash_ctas = 0;
  std::int32_t lag = 2;
  std::int32_t planner_threads = 1;
  std::uint64_t seed = 1;
  double deadline_seconds = 30;
  std::string drill;
  bool ffn = false;
  std::int32_t ffn_tokens = 32;  ///< per rank, layer and step
  std::int32_t ffn_hidden = 64;
  std::int32_t ffn_intermediate = 128;
  std::string json;
  bool quiet = false;
};

}  // namespace ballast
