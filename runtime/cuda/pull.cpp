#include "runtime/cuda/pull.hpp"

#include "runtime/cuda/cuda_error.hpp"

namespace ballast {

namespace {

// As many rows at once: short ones are soon done, and CTAs of this rank are not the model's.
constexpr int ctas = 2;

}  // namespace

void copy_list::add(void* to, const void* from, std::size_t bytes, std::int64_t expert_bytes) {
  if (bytes <= short_bytes && expert_bytes <= small_expert_bytes) {
    if (short_.empty() || short_.back().count == row_copies::most) short_.emplace_back();
    row_copies& rows = short_.back();
    rows.to[rows.count] = to;
    rows.from[rows.count] = from;
    rows.bytes[rows.count++] = static_cast<std::uint32_t>(bytes);
    return;
  }
  to_.push_back(to);
  from_.push_back(from);
  bytes_.push_back(bytes);
}

void copy_list::enqueue(cudaStream_t engine, cudaStream_t kernel) {
  for (const row_copies& rows : short_)
    check_cuda(static_cast<cudaError_t>(copy_rows_device(rows, ctas, kernel)), "copy_rows_device");
  short_.clear();
  if (!to_.empty()) enqueue_engine(engine);
}

void copy_list::enqueue_engine(cudaStream_t stream) {
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
