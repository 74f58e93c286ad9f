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
  std::int32_t slots_per_rank = 0;            ///< of the layer that has most
  std::vector<std::int32_t> slots_per_layer;  ///< [layers], or empty: all have as many
  std::int32_t rows_per_rank = 0;             ///< slots and spare rows
  std::int64_t steps = 0;
  std::vector<std::size_t> tensor_bytes;
  std::int64_t expert_bytes = 0;

  /// [layers][experts].
  std::size_t cells() const { return static_cast<std::size_t>(layers) * experts; }
  std::int32_t slots_of(int layer) const {
    return slots_per_layer.empty() ? slots_per_rank : slots_per_layer[layer];
  }
  /// [layers] rows that a rank needs memory for.
  std::vector<std::int32_t> rows_per_layer() const {
    std::vector<std::int32_t> rows;
    for (int layer = 0; layer < layers; ++layer) {
      rows.push_back(slots_of(layer) + rows_per_rank - slots_per_rank);
    }
    return rows;
  }
};

}  // namespace ballast
