#pragma once
// What a replay plays with: sizes settled from the options, the loads and the model.

#include <cstdint>
#include <vector>

namespace ballast {

struct replay_shape {
  std::int32_t layers = 0;
  std::int32_t experts = 0;
  std::int32_t top_k = 1;
  std::int32_t groups = 1;
  std::int32_t slots_per_rank = 0;
  std::int32_t rows_per_rank = 0;  ///< slots and spare rows
  std::int64_t steps = 0;
  std::vector<std::size_t> tensor_bytes;
  std::int64_t expert_bytes = 0;

  /// [layers][experts].
  std::size_t cells() const { return static_cast<std::size_t>(layers) * experts; }
};

}  // namespace ballast
