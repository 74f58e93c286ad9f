#pragma once
// The weights of a made-up model on one rank. Every byte follows from layer, expert, tensor and
// offset. Layers differ in size; tensors have odd sizes down to one byte; rows lie apart, and the
// bytes between them must stay as they are.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "runtime/ballast.h"
#include "tests/mpi/model_memory.hpp"

namespace ballast {

class made_up_weights {
 public:
  made_up_weights(int layers, int rows);

  static std::vector<std::size_t> tensor_bytes(int layer);
  static std::int64_t expert_bytes(int layer);

  void fill(int layer, int row, int expert);
  std::int64_t wrong_bytes(int layer, int row, int expert) const;
  /// Bytes between rows that somebody wrote to.
  std::int64_t touched_gaps() const;

  /// Damage, or its undoing.
  void flip_bit(int layer, int tensor, int row);

  std::vector<ballast_tensor> tensors(int layer) const;

 private:
  std::uint8_t* at(int layer, int tensor, int row) const;

  int rows_;
  std::unique_ptr<model_memory> memory_ = make_model_memory();
  std::vector<std::vector<std::uint8_t*>> tensors_;  // [layers][tensors], of rows * stride bytes
};

}  // namespace ballast
