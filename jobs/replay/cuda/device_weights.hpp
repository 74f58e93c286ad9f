#pragma once
// The weights of a replayed model on one rank's GPU: the same bytes as replay_weights holds on the
// host, written and checked by kernels.

#include <cstdint>
#include <functional>
#include <vector>

#include "jobs/cuda/gpu.hpp"
#include "jobs/replay/cuda/replay_kernels.hpp"
#include "jobs/replay/weights.hpp"

namespace ballast {

struct device_weights_shape {
  int layers = 0;
  int rows = 0;
  std::vector<std::size_t> tensor_bytes;  ///< of one expert
  weight_content content = weight_content::bytes;
};

class device_weights : public weight_rows {
 public:
  using allocator = std::function<void*(std::size_t bytes)>;

  /// One allocation per layer and tensor. The memory is the allocator's.
  device_weights(device_weights_shape shape, const allocator& allocate, cudaStream_t stream);

  void fill(int layer, int row, int expert) override;
  std::int64_t wrong_bytes(int layer, int row, int expert) const override;
  std::vector<ballast_tensor> tensors(int layer) override;

  const float* floats(int layer, int tensor, int row) const;
  /// All rows of `other`, which has the same shape. Complete when it returns.
  void copy_from(const device_weights& other);

 private:
  device_row row_at(int layer, int tensor, int row, int expert) const;
  std::size_t allocation_bytes(int tensor) const;

  device_weights_shape shape_;
  cudaStream_t stream_;
  std::vector<std::vector<std::byte*>> memory_;  // [layers][tensors]
  gpu::array<device_counter> wrong_;             // one
};

}  // namespace ballast
