#pragma once
// Copies by a copy engine.

#include <cuda_runtime_api.h>

#include <cstddef>
#include <vector>

namespace ballast {

/// Several copies enqueued as one, which the copy engine works through faster than single ones
/// (measured: 42 MiB in 6 tensors 360 against 315 GB/s).
class copy_list {
 public:
  explicit copy_list(std::size_t most) {
    to_.reserve(most);
    from_.reserve(most);
    bytes_.reserve(most);
  }
  void add(void* to, const void* from, std::size_t bytes);
  /// Enqueues the copies on `stream`, which is not the legacy default stream, and empties the list.
  void enqueue(cudaStream_t stream);

 private:
  std::vector<void*> to_;
  std::vector<const void*> from_;
  std::vector<std::size_t> bytes_;
};

}  // namespace ballast
