#pragma once
// Pulling rows from other GPUs: large ones by a copy engine, short ones, such as scales, by a
// kernel.

#include <cuda_runtime_api.h>

#include <cstddef>
#include <vector>

#include "kernels/copy_rows.hpp"

namespace ballast {

/// Copies enqueued together. A copy engine works through several faster than through single ones
/// (measured: 42 MiB in 6 tensors 360 against 315 GB/s), but each costs the host 2 to 5 us, however
/// short: the short ones of small experts share a launch. Not those of large ones: kernels that
/// fill the GPU let no other one begin until they end, a product of 8192 x 8192 takes 1.5 ms, and
/// the copies beside it fell from 357 to 184 GB/s.
class copy_list {
 public:
  /// Up to here a row is short, and an expert small.
  static constexpr std::size_t short_bytes = std::size_t{64} << 10;
  static constexpr std::int64_t small_expert_bytes = std::int64_t{16} << 20;

  explicit copy_list(std::size_t most) {
    to_.reserve(most);
    from_.reserve(most);
    bytes_.reserve(most);
    short_.reserve(most / row_copies::most + 1);
  }
  /// A row of an expert of `expert_bytes` bytes.
  void add(void* to, const void* from, std::size_t bytes, std::int64_t expert_bytes);

  /// Whether a kernel has something to do.
  bool has_short() const { return !short_.empty(); }
  /// Of the copies by copy engine.
  std::size_t engine_copies() const { return to_.size(); }

  /// Enqueues the copies on two streams, neither of them the legacy default stream, and empties the
  /// list. A reader of what they write waits for both.
  void enqueue(cudaStream_t engine, cudaStream_t kernel);

 private:
  void enqueue_engine(cudaStream_t stream);

  std::vector<void*> to_;
  std::vector<const void*> from_;
  std::vector<std::size_t> bytes_;
  std::vector<row_copies> short_;
};

}  // namespace ballast
