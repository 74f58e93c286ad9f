#include "runtime/cuda/device_memory.hpp"

#include <fmt/format.h>

#include "kernels/hash.hpp"
#include "kernels/pack.hpp"
#include "runtime/cuda/driver.hpp"
#include "runtime/error.hpp"

namespace ballast {

device_memory::device_memory(int layers, int experts, int rows_per_rank, int device,
                             cudaStream_t compute)
    : expert_memory(layers, experts, rows_per_rank), device_(device), compute_(compute) {}

void device_memory::check_space(int layer, int tensor, const void* begin, std::size_t bytes) const {
  cudaPointerAttributes found = {};
  BALLAST_CUDA(cudaPointerGetAttributes(&found, begin));
  if (found.type == cudaMemoryTypeUnregistered || found.type == cudaMemoryTypeHost) {
    reject(layer, tensor,
           fmt::format("base {} is no device memory (host memory, or freed)", begin));
  }
  if (found.type != cudaMemoryTypeDevice)
    reject(layer, tensor, fmt::format("base {} is managed memory, not the device's own", begin));
  if (found.device != device_) {
    reject(
        layer, tensor,
        fmt::format("base {} is on device {}, this context's is {}", begin, found.device, device_));
  }
  const std::vector<device_allocation> all = allocations_of(begin, bytes);
  const std::size_t mapped =
      all.empty() ? 0
                  : all.back().base + all.back().bytes - reinterpret_cast<std::uintptr_t>(begin);
  if (bytes > mapped) {
    reject(layer, tensor,
           fmt::format("its rows need {} bytes from base {}, the allocation has {} there", bytes,
                       begin, mapped));
  }
}

void device_memory::allocate_staging(int rows) {
  // What the caller has enqueued may still be writing weights.
  event loaded;
  loaded.record(compute_);
  BALLAST_CUDA(cudaStreamWaitEvent(stream_.get(), loaded.get(), 0));
  device_staging_ = device_buffer<std::byte>(lay_out_staging(rows));
  use_staging(device_staging_.data());
  std::vector<void*> all;
  for (int layer = 0; layer < layers(); ++layer) {
    first_address_.push_back(all.size());
    std::vector<std::uint64_t> row_bytes;
    for (int t = 0; t < tensor_count(layer); ++t) row_bytes.push_back(tensor_bytes(layer, t));
    shapes_.push_back(shape_of(row_bytes));
    const auto add = [&](weight_location where) {
      for (int t = 0; t < tensor_count(layer); ++t) all.push_back(address(layer, t, where));
    };
    for (int row = 0; row < rows_of(layer); ++row) add({row, -1});
    const int absent = rows_per_rank() - rows_of(layer);
    all.resize(all.size() + static_cast<std::size_t>(absent) * tensor_count(layer));
    for (int half = 0; half < 2; ++half) {
      for (int row = 0; row < rows; ++row) add({row, half});
    }
  }
  addresses_ = device_buffer<void*>(all.size());
  BALLAST_CUDA(
      cudaMemcpy(addresses_.data(), all.data(), all.size() * sizeof(void*), cudaMemcpyDefault));
  BALLAST_CUDA(cudaStreamSynchronize(cudaStreamLegacy));  // background streams do not wait for it
  scratch_ = device_buffer<std::uint64_t>(hash_scratch_size(tensor_count_max(), rows_per_rank()));
  hashes_ = pinned_buffer<std::uint64_t>(rows_per_rank());
}

std::uint32_t device_memory::first_address(int layer, weight_location where) const {
  const std::size_t row =
      where.half < 0 ? where.row : rows_per_rank() + where.half * staging_rows() + where.row;
  return static_cast<std::uint32_t>(first_address_[layer] + row * tensor_count(layer));
}

expert_rows device_memory::rows_at(int layer, weight_location where) const {
  return {addresses_.data() + first_address(layer, where), nullptr};
}

std::uint64_t device_memory::hash(int layer, weight_location where) const {
  const device_guard guard(device_);
  check_cuda(static_cast<cudaError_t>(hash_experts_device(shapes_[layer], rows_at(layer, where), 1,
                                                          hashes_.data(), scratch_.data(), 0,
                                                          stream_.get())),
             "hash_experts_device");
  BALLAST_CUDA(cudaStreamSynchronize(stream_.get()));
  return hashes_[0];
}

// All rows of the layer at once: a launch for each would take longer than the rows not asked for.
void device_memory::hash_rows(int layer, std::span<const std::int32_t> rows,
                              std::uint64_t* hashes) const {
  const device_guard guard(device_);
  check_cuda(static_cast<cudaError_t>(hash_experts_device(shapes_[layer], rows_at(layer, {0, -1}),
                                                          rows_of(layer), hashes_.data(),
                                                          scratch_.data(), 0, stream_.get())),
             "hash_experts_device");
  BALLAST_CUDA(cudaStreamSynchronize(stream_.get()));
  for (const std::int32_t row : rows) *hashes++ = hashes_[row];
}

void device_memory::copy(std::span<const expert_copy> copies) const {
  copy_on(compute_, copies, 0);
}

void device_memory::copy_on(cudaStream_t stream, std::span<const expert_copy> copies,
                            int ctas) const {
  const device_guard guard(device_);
  picked_experts from = {addresses(), {}};
  picked_experts to = {addresses(), {}};
  int count = 0;
  for (std::size_t i = 0; i < copies.size(); ++i) {
    const expert_copy& c = copies[i];
    from.first[count] = first_address(c.layer, c.from);
    to.first[count++] = first_address(c.layer, c.to);
    const bool more = i + 1 < copies.size() && count < picked_experts::most &&
                      shapes_[copies[i + 1].layer] == shapes_[c.layer];
    if (more) continue;
    check_cuda(static_cast<cudaError_t>(
                   copy_picked_device(shapes_[c.layer], from, to, count, ctas, stream)),
               "copy_picked_device");
    count = 0;
  }
}

void device_memory::flip_bit(std::byte* at) const {
  const device_guard guard(device_);
  std::byte value = {};
  BALLAST_CUDA(cudaMemcpyAsync(&value, at, 1, cudaMemcpyDefault, stream_.get()));
  BALLAST_CUDA(cudaStreamSynchronize(stream_.get()));
  value ^= std::byte{1};
  BALLAST_CUDA(cudaMemcpyAsync(at, &value, 1, cudaMemcpyDefault, stream_.get()));
  BALLAST_CUDA(cudaStreamSynchronize(stream_.get()));
}

}  // namespace ballast
