#pragma once
// The weights of a replayed model on one rank. Every byte follows from layer, expert, tensor and
// offset, so any rank can check any byte of any expert.

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "runtime/ballast.h"

namespace ballast {

enum class weight_content {
  bytes,    ///< 64 random bits per word
  ternary,  ///< floats of -1, 0 and 1, for expert FFNs that are exact (ffn.hpp)
};

class replay_weights {
 public:
  /// `tensor_bytes`: of one expert. Allocates layers * rows of them. Throws std::bad_alloc.
  replay_weights(int layers, int rows, std::vector<std::size_t> tensor_bytes,
                 weight_content content);

  void fill(int layer, int row, int expert);
  /// Bytes of the row that differ from what the expert should hold.
  std::int64_t wrong_bytes(int layer, int row, int expert) const;

  std::vector<ballast_tensor> tensors(int layer);
  const std::byte* address(int layer, int tensor, int row) const;

 private:
  int rows_;
  std::vector<std::size_t> tensor_bytes_;
  std::vector<std::size_t> stride_;
  std::vector<std::vector<std::vector<std::byte>>> memory_;  // [layers][tensors][rows * stride]
  weight_content content_;
};

/// Splits an expert of `bytes` bytes into a large tensor, one about half of it and scales of an odd
/// size, as quantised experts have them; one tensor where that is too small.
std::vector<std::size_t> split_expert(std::int64_t bytes);

}  // namespace ballast
