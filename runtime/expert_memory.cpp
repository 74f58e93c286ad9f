#include "runtime/expert_memory.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <new>

#include "kernels/expert_rows.hpp"
#include "kernels/hash.hpp"
#include "runtime/error.hpp"

namespace ballast {
namespace {

constexpr int tensors_max = 64;
constexpr std::int64_t expert_bytes_max_possible = std::int64_t{1} << 46;

struct extent {
  std::uintptr_t begin;
  std::uintptr_t end;
};

// Where the tensor's rows are, or in `why_not` why it cannot be one.
extent extent_of(const ballast_tensor& tensor, int rows, std::string& why_not) {
  if (tensor.base == nullptr) why_not = "base is NULL";
  if (tensor.row_bytes == 0) why_not = "row_bytes is 0";
  if (tensor.row_stride < tensor.row_bytes) {
    why_not = fmt::format("row_stride {} is less than row_bytes {}: rows would overlap",
                          tensor.row_stride, tensor.row_bytes);
  }
  if (!why_not.empty()) return {};
  const auto begin = reinterpret_cast<std::uintptr_t>(tensor.base);
  std::uintptr_t length = 0;
  std::uintptr_t end = 0;
  if (__builtin_mul_overflow(tensor.row_stride, static_cast<std::size_t>(rows - 1), &length) ||
      __builtin_add_overflow(length, tensor.row_bytes, &length) ||
      __builtin_add_overflow(begin, length, &end)) {
    why_not =
        fmt::format("{} rows of stride {} do not fit an address space", rows, tensor.row_stride);
  }
  return {begin, end};
}

// Tensors may be interleaved row by row (one allocation, strides larger than rows), so two tensors
// overlap only if two of their rows do.
bool rows_overlap(const ballast_tensor& a, int rows_a, const ballast_tensor& b, int rows_b) {
  const auto begin_a = reinterpret_cast<std::uintptr_t>(a.base);
  const auto begin_b = reinterpret_cast<std::uintptr_t>(b.base);
  if (begin_a >= begin_b + (rows_b - 1) * b.row_stride + b.row_bytes ||
      begin_b >= begin_a + (rows_a - 1) * a.row_stride + a.row_bytes) {
    return false;
  }
  int i = 0;
  int j = 0;
  while (i < rows_a && j < rows_b) {
    const std::uintptr_t at_a = begin_a + i * a.row_stride;
    const std::uintptr_t at_b = begin_b + j * b.row_stride;
    if (at_a < at_b + b.row_bytes && at_b < at_a + a.row_bytes) return true;
    at_a < at_b ? ++i : ++j;
  }
  return false;
}

// Beside a product that fills the GPU, rows at multiples of 4 KiB were pulled at 0.75 of the rate
// of those at multiples of 64 KiB (tests/bench/gpu.md).
constexpr std::size_t large_row_bytes = 1 << 20;
constexpr std::size_t large_row_alignment = 64 << 10;

std::size_t staging_alignment(std::size_t row_bytes) {
  return row_bytes < large_row_bytes ? packed_alignment : large_row_alignment;
}

std::size_t round_up(std::size_t bytes, std::size_t unit) {
  return (bytes + unit - 1) / unit * unit;
}

}  // namespace

expert_memory::expert_memory(int layers, int experts, int rows_per_rank)
    : experts_(experts),
      rows_per_rank_(rows_per_rank),
      rows_of_layer_(static_cast<std::size_t>(layers), rows_per_rank),
      layers_(layers),
      hashes_(static_cast<std::size_t>(layers) * experts) {}

void expert_memory::register_layer(int layer, std::span<const ballast_tensor> tensors) {
  if (layer < 0 || layer >= static_cast<int>(layers_.size())) {
    throw error(BALLAST_ERROR_INVALID_ARGUMENT,
                fmt::format("layer {} is not in 0..{}", layer, layers_.size() - 1));
  }
  if (!layers_[layer].tensors.empty()) {
    throw error(BALLAST_ERROR_INVALID_ARGUMENT,
                fmt::format("layer {} is registered already", layer));
  }
  if (tensors.empty() || tensors.size() > tensors_max) {
    throw error(BALLAST_ERROR_INVALID_ARGUMENT,
                fmt::format("layer {}: {} tensors, 1 to {} are possible", layer, tensors.size(),
                            tensors_max));
  }
  const int rows = rows_of(layer);
  layer_memory memory;
  for (int i = 0; i < static_cast<int>(tensors.size()); ++i) {
    std::string why_not;
    const extent all = extent_of(tensors[i], rows, why_not);
    if (!why_not.empty()) reject(layer, i, why_not);
    check_space(layer, i, tensors[i].base, all.end - all.begin);
    for (int j = 0; j < i; ++j) {
      if (rows_overlap(tensors[i], rows, tensors[j], rows))
        reject(layer, i, fmt::format("rows overlap with tensor {}", j));
    }
    if (tensors[i].row_bytes >
        static_cast<std::size_t>(expert_bytes_max_possible - memory.expert_bytes)) {
      reject(layer, i,
             fmt::format("row_bytes {} brings an expert above {} bytes", tensors[i].row_bytes,
                         expert_bytes_max_possible));
    }
    memory.tensors.push_back(tensors[i]);
    const std::size_t alignment = staging_alignment(tensors[i].row_bytes);
    memory.staging_offset.push_back(round_up(memory.staging_bytes, alignment));
    memory.staging_bytes = memory.staging_offset.back() + round_up(tensors[i].row_bytes, alignment);
    memory.expert_bytes += static_cast<std::int64_t>(tensors[i].row_bytes);
    memory.begin = i == 0 ? all.begin : std::min(memory.begin, all.begin);
    memory.end = std::max(memory.end, all.end);
  }
  check_apart(layer, memory);
  layers_[layer] = std::move(memory);
}

// A move would write over the experts of another layer.
void expert_memory::check_apart(int layer, const layer_memory& memory) const {
  for (int other = 0; other < layers(); ++other) {
    const layer_memory& there = layers_[other];
    if (memory.begin >= there.end || there.begin >= memory.end) continue;
    for (std::size_t i = 0; i < memory.tensors.size(); ++i) {
      for (std::size_t j = 0; j < there.tensors.size(); ++j) {
        if (rows_overlap(memory.tensors[i], rows_of(layer), there.tensors[j], rows_of(other))) {
          reject(layer, static_cast<int>(i),
                 fmt::format("rows overlap with layer {}, tensor {}", other, j));
        }
      }
    }
  }
}

int expert_memory::first_missing_layer() const {
  for (std::size_t layer = 0; layer < layers_.size(); ++layer) {
    if (layers_[layer].tensors.empty()) return static_cast<int>(layer);
  }
  return -1;
}

std::uint64_t expert_memory::shape_digest(int layer) const {
  std::vector<std::uint64_t> sizes;
  for (const ballast_tensor& tensor : layers_[layer].tensors) sizes.push_back(tensor.row_bytes);
  return hash_bytes_host(sizes.data(), sizes.size() * sizeof(sizes[0]), 0);
}

std::size_t expert_memory::lay_out_staging(int rows) {
  staging_rows_ = rows;
  staging_row_bytes_ = 0;
  for (const layer_memory& layer : layers_)
    staging_row_bytes_ = std::max(staging_row_bytes_, layer.staging_bytes);
  staging_row_bytes_ = round_up(staging_row_bytes_, staging_alignment(staging_row_bytes_));
  std::size_t bytes = 0;
  if (__builtin_mul_overflow(staging_row_bytes_, std::size_t{2} * rows, &bytes)) {
    throw error(BALLAST_ERROR_MEMORY,
                fmt::format("2 x {} staging rows of {} bytes cannot be allocated", rows,
                            staging_row_bytes_));
  }
  return bytes;
}

void expert_memory::allocate_staging(int rows) {
  const std::size_t bytes = lay_out_staging(rows);
  try {
    host_staging_.resize(bytes);
  } catch (const std::exception&) {
    throw error(BALLAST_ERROR_MEMORY,
                fmt::format("2 x {} staging rows of {} bytes cannot be allocated", rows,
                            staging_row_bytes_));
  }
  use_staging(host_staging_.data());
}

void expert_memory::check_space(int, int, const void*, std::size_t) const {}

void expert_memory::reject(int layer, int tensor, const std::string& why) {
  throw error(BALLAST_ERROR_INVALID_ARGUMENT,
              fmt::format("layer {}, tensor {}: {}", layer, tensor, why));
}

std::int64_t expert_memory::expert_bytes_max() const {
  std::int64_t most = 0;
  for (const layer_memory& layer : layers_) most = std::max(most, layer.expert_bytes);
  return most;
}

int expert_memory::tensor_count_max() const {
  std::size_t most = 0;
  for (const layer_memory& layer : layers_) most = std::max(most, layer.tensors.size());
  return static_cast<int>(most);
}

std::byte* expert_memory::address(int layer, int tensor, weight_location where) const {
  const layer_memory& memory = layers_[layer];
  if (where.half < 0) {
    return static_cast<std::byte*>(memory.tensors[tensor].base) +
           where.row * memory.tensors[tensor].row_stride;
  }
  return staging_ + staging_offset(layer, tensor, where);
}

std::uint64_t expert_memory::hash(int layer, weight_location where) const {
  std::uint64_t hash = 0;
  for (int t = 0; t < tensor_count(layer); ++t) {
    hash = combine_hash(hash,
                        hash_bytes_host(address(layer, t, where), tensor_bytes(layer, t), t + 1));
  }
  return hash;
}

void expert_memory::hash_rows(int layer, std::span<const std::int32_t> rows,
                              std::uint64_t* hashes) const {
  for (const std::int32_t row : rows) *hashes++ = hash(layer, {row, -1});
}

void expert_memory::copy(std::span<const expert_copy> copies) const {
  for (const expert_copy& c : copies) {
    for (int t = 0; t < tensor_count(c.layer); ++t) {
      std::memcpy(address(c.layer, t, c.to), address(c.layer, t, c.from), tensor_bytes(c.layer, t));
    }
  }
}

}  // namespace ballast
