#pragma once
// What published planners were measured to reach on the cases of `ballast bench plan`: a comparison
// of 2026-08, one thread of a 2 GHz Xeon, on loads of the same families (seed 20250801). Per shape
// and family the best balance of the planners that finished it, mean over layers of mean / max rank
// load with equal shares; per shape the shortest time, all layers, family logn1.0. Commits:
// DeepSeek EPLB d52c72d, vLLM 017e9f4, SGLang 9fec359, vllm-ascend 182b75e, UCB ADRS f856497,
// TensorRT-LLM 0d919a4, omni-infer c8bc2bb. "greedy" is DeepSeek's, which vLLM, SGLang and
// TensorRT-LLM share.

#include <string_view>

namespace ballast {

struct peer_balance {
  std::string_view shape;
  std::string_view family;
  std::string_view peer;
  double balance;
};

struct peer_plan_time {
  std::string_view shape;
  std::string_view peer;
  double ms;
};

/// Null where there is no figure.
const peer_balance* find_peer_balance(std::string_view shape, std::string_view family);
const peer_plan_time* find_peer_plan_time(std::string_view shape);

}  // namespace ballast
