#pragma once
// What `ballast plan` was asked to do.

#include <cstdint>
#include <string>

#include "runtime/ballast.h"

namespace ballast {

struct plan_options {
  std::string loads;
  std::string generate;
  std::string window;
  std::int32_t ranks = 0;
  std::int32_t slots_per_rank = 0;
  std::int32_t ranks_per_node = 0;  ///< 0: all on one node
  std::string topology;
  std::int32_t groups = 0;  ///< 0: the model's, or 1
  std::string policy = BALLAST_DEFAULT_POLICY;
  bool compatible = false;
  std::string current;
  std::int64_t max_moves = -1;
  std::int64_t max_bytes = -1;
  std::int64_t expert_bytes = 0;  ///< 0: the model's, or unknown
  std::string model;
  std::int32_t threads = 1;
  std::uint64_t seed = 1;
  std::string out;
  std::string json;
  bool quiet = false;
};

}  // namespace ballast
