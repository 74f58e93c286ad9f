#pragma once
// Real expert FFNs: tokens are dispatched to the ranks that hold their experts, multiplied by
// OpenBLAS, and combined. Done twice per step, through the live tables and through a copy of the
// initial placement, to show that rebalancing changes no output bit.
//
// cuda/device_ffn.hpp is the same on GPUs.
//
// Weights are -1, 0 or 1 and activations small integers, so every sum stays below 2^24 and float
// arithmetic is exact in any order: outputs can be compared bit for bit whatever batch a token is
// multiplied in. Per expert, on x [hidden]:
//     h = clamp(relu(gate x) * (up x) / 64, -127, 127) in integers;   y = down h

#include <mpi.h>

#include <cstdint>
#include <span>
#include <vector>

#include "jobs/collectives.hpp"
#include "jobs/replay/weights.hpp"

namespace ballast {

struct ffn_shape {
  int hidden = 64;
  int intermediate = 128;
};

/// gate [intermediate][hidden], up the same, down [hidden][intermediate], float32.
std::vector<std::size_t> ffn_tensor_bytes(ffn_shape shape);

/// Throws std::invalid_argument if sums could leave the exact range of float.
void check_ffn_shape(ffn_shape shape);

/// Whether this build can multiply on the host.
bool has_openblas();

class expert_ffn {
 public:
  expert_ffn(const collectives& all_ranks, ffn_shape shape, int rows_per_rank);

  /// Collective. Tokens of this rank, [tokens][columns] slots of layer `layer` (-1: skipped), to
  /// outputs [tokens][hidden]: the sum over columns c of (c + 1) * FFN(x). The activations follow
  /// from step, layer, rank and token. `weights` holds this rank's rows.
  void run(const replay_weights& weights, int layer, std::int64_t step,
           std::span<const std::int32_t> slots, int columns, std::vector<float>& outputs);
  /// What this rank's experts took in the last run.
  double seconds() const { return seconds_; }

 private:
  void multiply(const replay_weights& weights, int layer);

  collectives all_ranks_;
  ffn_shape shape_;
  int rows_per_rank_;
  int rank_ = 0;
  int ranks_ = 1;
  double seconds_ = 0;
  // Dispatched tokens on the sending and on the receiving side, and their experts' rows there.
  std::vector<float> sent_, received_, results_, returned_;
  std::vector<std::int32_t> sent_rows_, received_rows_;
};

}  // namespace ballast
