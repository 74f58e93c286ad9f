#pragma once
// The options of `ballast bench exchange` on either backend. 0 or none: the backend's default.

#include <cstdint>
#include <string>
#include <vector>

#include "jobs/bench/table.hpp"

namespace ballast {

struct exchange_bench_options {
  bench_output output;
  std::string backend = "host";
  std::string model;  ///< whose experts' size is a case before those of expert_kib; GPUs only
  std::vector<std::int64_t> expert_kib;
  std::vector<std::string> ways = {"auto"};
  std::vector<std::string> verifies = {"full", "off"};
  std::vector<std::string> transports = {"copy"};  ///< GPUs only, as the next three
  std::vector<std::int32_t> hash_ctas = {1, 2, 4, 8};
  std::vector<std::int32_t> nccl_ctas = {2};
  std::int32_t layers = 0;  ///< instead of as many as the weights hold
  std::int32_t experts = 16;
  std::int64_t weights_mib = 0;
  std::int32_t layers_max = 0;
  std::int32_t tensors = 1;  ///< host only
  std::int32_t epochs = 0;
  std::int32_t staging_experts = 2;
  std::int32_t receives_per_batch = 0;
  std::int32_t lag = 2;
  std::int64_t bytes_per_step = 0;  ///< unpaced
};

}  // namespace ballast
