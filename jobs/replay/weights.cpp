#include "jobs/replay/weights.hpp"

#include <algorithm>
#include <cstring>
#include <new>

namespace ballast {

replay_weights::replay_weights(std::span<const std::int32_t> rows,
                               std::vector<std::size_t> tensor_bytes, weight_content content)
    : tensor_bytes_(std::move(tensor_bytes)), memory_(rows.size()), content_(content) {
  for (const std::size_t bytes : tensor_bytes_) {
    stride_.push_back(row_stride(bytes));
    for (std::size_t layer = 0; layer < rows.size(); ++layer) {
      std::size_t all = 0;
      if (__builtin_mul_overflow(stride_.back(), static_cast<std::size_t>(rows[layer]), &all))
        throw std::bad_alloc();
      memory_[layer].emplace_back(all);
    }
  }
}

void replay_weights::fill(int layer, int row, int expert) {
  for (std::size_t t = 0; t < tensor_bytes_.size(); ++t) {
    std::byte* at = memory_[layer][t].data() + row * stride_[t];
    const weight_rule rule = weight_rule::of(layer, expert, static_cast<int>(t), content_);
    for (std::size_t offset = 0; offset < tensor_bytes_[t]; offset += 8) {
      const std::uint64_t word = rule.word(offset / 8);
      std::memcpy(at + offset, &word, std::min<std::size_t>(8, tensor_bytes_[t] - offset));
    }
  }
}

std::int64_t replay_weights::wrong_bytes(int layer, int row, int expert) const {
  std::int64_t wrong = 0;
  for (std::size_t t = 0; t < tensor_bytes_.size(); ++t) {
    const std::byte* at = address(layer, static_cast<int>(t), row);
    const weight_rule rule = weight_rule::of(layer, expert, static_cast<int>(t), content_);
    for (std::size_t offset = 0; offset < tensor_bytes_[t]; offset += 8) {
      const std::size_t n = std::min<std::size_t>(8, tensor_bytes_[t] - offset);
      const std::uint64_t expected = rule.word(offset / 8);
      std::byte bytes[8];
      std::memcpy(bytes, &expected, 8);
      if (std::memcmp(at + offset, bytes, n) == 0) continue;
      for (std::size_t i = 0; i < n; ++i) wrong += at[offset + i] != bytes[i];
    }
  }
  return wrong;
}

std::vector<ballast_tensor> replay_weights::tensors(int layer) {
  std::vector<ballast_tensor> tensors;
  for (std::size_t t = 0; t < tensor_bytes_.size(); ++t) {
    tensors.push_back({memory_[layer][t].data(), tensor_bytes_[t], stride_[t]});
  }
  return tensors;
}

const std::byte* replay_weights::address(int layer, int tensor, int row) const {
  return memory_[layer][tensor].data() + row * stride_[tensor];
}

std::vector<std::size_t> split_expert(std::int64_t bytes) {
  const auto all = static_cast<std::size_t>(bytes);
  if (all < 256) return {all};
  const std::size_t scales = (all / 128) | 1;
  const std::size_t down = (all - scales) / 3;
  return {all - scales - down, down, scales};
}

}  // namespace ballast
