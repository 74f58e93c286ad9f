#pragma once
// The weights of a replayed model on one rank. Every byte follows from layer, expert, tensor and
// offset, so any rank can check any byte of any expert.

#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "jobs/replay/rules.hpp"
#include "runtime/ballast.h"

namespace ballast {

/// Rows of experts, in host memory or on a GPU.
class weight_rows {
 public:
  virtual ~weight_rows() = default;
  /// Complete when it returns.
  virtual void fill(int layer, int row, int expert) = 0;
  /// Bytes of the row that differ from what the expert should hold.
  virtual std::int64_t wrong_bytes(int layer, int row, int expert) const = 0;
  /// What ballast_register_layer is told.
  virtual std::vector<ballast_tensor> tensors(int layer) = 0;
};

/// A stride that is not the row's size is the usual case in engines; rows start on 16 bytes.
inline std::size_t row_stride(std::size_t row_bytes) { return (row_bytes + 15) / 16 * 16; }

/// In host memory.
class replay_weights : public weight_rows {
 public:
  /// `rows`: [layers]. `tensor_bytes`: of one expert. Throws std::bad_alloc.
  replay_weights(std::span<const std::int32_t> rows, std::vector<std::size_t> tensor_bytes,
                 weight_content content);

  /// As many rows in every layer.
  replay_weights(int layers, int rows, std::vector<std::size_t> tensor_bytes,
                 weight_content content)
      : replay_weights(std::vector<std::int32_t>(static_cast<std::size_t>(layers), rows),
                       std::move(tensor_bytes), content) {}

  void fill(int layer, int row, int expert) override;
  std::int64_t wrong_bytes(int layer, int row, int expert) const override;
  std::vector<ballast_tensor> tensors(int layer) override;
  const std::byte* address(int layer, int tensor, int row) const;

 private:
  std::vector<std::size_t> tensor_bytes_;
  std::vector<std::size_t> stride_;
  std::vector<std::vector<std::vector<std::byte>>> memory_;  // [layers][tensors][rows * stride]
  weight_content content_;
};

/// Splits an expert of `bytes` bytes into a large tensor, one about half of it and scales of an odd
/// size, as quantised experts have them; one tensor where that is too small.
std::vector<std::size_t> split_expert(std::int64_t bytes);

}  // namespace ballast
