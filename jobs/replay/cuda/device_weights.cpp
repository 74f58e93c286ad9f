#include "jobs/replay/cuda/device_weights.hpp"

#include <new>

namespace ballast {

device_weights::device_weights(device_weights_shape shape, const allocator& allocate,
                               cudaStream_t stream)
    : shape_(std::move(shape)), stream_(stream), memory_(shape_.layers), wrong_(1) {
  for (auto& tensors : memory_) {
    for (int t = 0; t < static_cast<int>(shape_.tensor_bytes.size()); ++t)
      tensors.push_back(static_cast<std::byte*>(allocate(allocation_bytes(t))));
  }
}

std::size_t device_weights::allocation_bytes(int tensor) const {
  std::size_t bytes = 0;
  if (__builtin_mul_overflow(row_stride(shape_.tensor_bytes[tensor]),
                             static_cast<std::size_t>(shape_.rows), &bytes)) {
    throw std::bad_alloc();
  }
  return bytes;
}

device_row device_weights::row_at(int layer, int tensor, int row, int expert) const {
  const std::size_t bytes = shape_.tensor_bytes[tensor];
  return {memory_[layer][tensor] + row * row_stride(bytes), bytes,
          weight_rule::of(layer, expert, tensor, shape_.content)};
}

void device_weights::fill(int layer, int row, int expert) {
  for (int t = 0; t < static_cast<int>(shape_.tensor_bytes.size()); ++t)
    BALLAST_GPU(fill_row(row_at(layer, t, row, expert), stream_));
  BALLAST_GPU(cudaStreamSynchronize(stream_));
}

std::int64_t device_weights::wrong_bytes(int layer, int row, int expert) const {
  BALLAST_GPU(cudaMemsetAsync(wrong_.data(), 0, sizeof(device_counter), stream_));
  for (int t = 0; t < static_cast<int>(shape_.tensor_bytes.size()); ++t)
    BALLAST_GPU(count_wrong_bytes(row_at(layer, t, row, expert), wrong_.data(), stream_));
  device_counter wrong = 0;
  BALLAST_GPU(
      cudaMemcpyAsync(&wrong, wrong_.data(), sizeof(wrong), cudaMemcpyDeviceToHost, stream_));
  BALLAST_GPU(cudaStreamSynchronize(stream_));
  return static_cast<std::int64_t>(wrong);
}

std::vector<ballast_tensor> device_weights::tensors(int layer) {
  std::vector<ballast_tensor> tensors;
  for (std::size_t t = 0; t < shape_.tensor_bytes.size(); ++t) {
    const std::size_t bytes = shape_.tensor_bytes[t];
    tensors.push_back({memory_[layer][t], bytes, row_stride(bytes)});
  }
  return tensors;
}

const float* device_weights::floats(int layer, int tensor, int row) const {
  return reinterpret_cast<const float*>(memory_[layer][tensor] +
                                        row * row_stride(shape_.tensor_bytes[tensor]));
}

void device_weights::copy_from(const device_weights& other) {
  for (int layer = 0; layer < shape_.layers; ++layer) {
    for (int t = 0; t < static_cast<int>(shape_.tensor_bytes.size()); ++t) {
      BALLAST_GPU(cudaMemcpyAsync(memory_[layer][t], other.memory_[layer][t], allocation_bytes(t),
                                  cudaMemcpyDeviceToDevice, stream_));
    }
  }
  BALLAST_GPU(cudaStreamSynchronize(stream_));
}

}  // namespace ballast
