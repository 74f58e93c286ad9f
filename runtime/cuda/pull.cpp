#include "runtime/cuda/pull.hpp"

#include "runtime/cuda/cuda_error.hpp"

namespace ballast {

void copy_list::add(void* to, const void* from, std::size_t bytes) {
  to_.push_back(to);
  from_.push_back(from);
  bytes_.push_back(bytes);
}

void copy_list::enqueue(cudaStream_t stream) {
  if (to_.empty()) return;
#if CUDART_VERSION >= 13000
  cudaMemcpyAttributes how = {};
  how.srcAccessOrder = cudaMemcpySrcAccessOrderStream;
  how.flags = cudaMemcpyFlagPreferOverlapWithCompute;
  std::size_t first = 0;
  BALLAST_CUDA(cudaMemcpyBatchAsync(to_.data(), from_.data(), bytes_.data(), to_.size(), &how,
                                    &first, 1, stream));
#else
  for (std::size_t i = 0; i < to_.size(); ++i)
    BALLAST_CUDA(cudaMemcpyAsync(to_[i], from_[i], bytes_[i], cudaMemcpyDefault, stream));
#endif
  to_.clear();
  from_.clear();
  bytes_.clear();
}

}  // namespace ballast
