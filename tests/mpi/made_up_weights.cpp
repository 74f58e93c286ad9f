#include "tests/mpi/made_up_weights.hpp"

#include <cstdlib>
#include <numeric>

namespace ballast {
namespace {

constexpr std::uint8_t gap_byte = 0xa5;
constexpr std::size_t gap_bytes[] = {3, 0, 64, 1};  // of tensor t

std::size_t stride_of(int layer, int tensor) {
  return made_up_weights::tensor_bytes(layer)[tensor] + gap_bytes[tensor % 4];
}

// BALLAST_TEST_ROW_BYTES: so much longer are some rows, which on a GPU then go by copy engine.
std::size_t longer_rows() {
  const char* given = std::getenv("BALLAST_TEST_ROW_BYTES");
  return given == nullptr ? 0 : std::strtoull(given, nullptr, 10);
}

std::uint8_t content(int layer, int expert, int tensor, std::size_t offset) {
  std::uint64_t x =
      (static_cast<std::uint64_t>(layer) << 48 ^ static_cast<std::uint64_t>(expert) << 32 ^
       static_cast<std::uint64_t>(tensor) << 24 ^ offset) *
      0x9e3779b97f4a7c15ull;
  x ^= x >> 29;
  return static_cast<std::uint8_t>((x * 0xbf58476d1ce4e5b9ull) >> 56);
}

}  // namespace

made_up_weights::made_up_weights(int layers, int rows) : rows_(rows), tensors_(layers) {
  for (int layer = 0; layer < layers; ++layer) {
    for (std::size_t t = 0; t < tensor_bytes(layer).size(); ++t) {
      const std::vector<std::uint8_t> gaps(stride_of(layer, static_cast<int>(t)) * rows, gap_byte);
      tensors_[layer].push_back(static_cast<std::uint8_t*>(memory_->allocate(gaps.size())));
      memory_->write(tensors_[layer].back(), gaps.data(), gaps.size());
    }
  }
}

std::vector<std::size_t> made_up_weights::tensor_bytes(int layer) {
  static const std::size_t more = longer_rows();
  std::vector<std::size_t> bytes = {257 + 100 * static_cast<std::size_t>(layer) + more, 1,
                                    37 + more};
  if (layer % 2 == 1) bytes.push_back(8);
  return bytes;
}

std::int64_t made_up_weights::expert_bytes(int layer) {
  const std::vector<std::size_t> bytes = tensor_bytes(layer);
  return std::accumulate(bytes.begin(), bytes.end(), std::int64_t{0});
}

void made_up_weights::fill(int layer, int row, int expert) {
  const std::vector<std::size_t> bytes = tensor_bytes(layer);
  for (std::size_t t = 0; t < bytes.size(); ++t) {
    std::vector<std::uint8_t> row_bytes(bytes[t]);
    for (std::size_t i = 0; i < bytes[t]; ++i)
      row_bytes[i] = content(layer, expert, static_cast<int>(t), i);
    memory_->write(at(layer, static_cast<int>(t), row), row_bytes.data(), row_bytes.size());
  }
}

std::int64_t made_up_weights::wrong_bytes(int layer, int row, int expert) const {
  std::int64_t wrong = 0;
  const std::vector<std::size_t> bytes = tensor_bytes(layer);
  for (std::size_t t = 0; t < bytes.size(); ++t) {
    std::vector<std::uint8_t> row_bytes(bytes[t]);
    memory_->read(row_bytes.data(), at(layer, static_cast<int>(t), row), row_bytes.size());
    for (std::size_t i = 0; i < bytes[t]; ++i)
      wrong += row_bytes[i] != content(layer, expert, static_cast<int>(t), i);
  }
  return wrong;
}

std::int64_t made_up_weights::touched_gaps() const {
  std::int64_t touched = 0;
  for (std::size_t layer = 0; layer < tensors_.size(); ++layer) {
    const std::vector<std::size_t> bytes = tensor_bytes(static_cast<int>(layer));
    for (std::size_t t = 0; t < bytes.size(); ++t) {
      const std::size_t stride = stride_of(static_cast<int>(layer), static_cast<int>(t));
      std::vector<std::uint8_t> all(stride * rows_);
      memory_->read(all.data(), tensors_[layer][t], all.size());
      for (int row = 0; row < rows_; ++row) {
        for (std::size_t i = bytes[t]; i < stride; ++i)
          touched += all[row * stride + i] != gap_byte;
      }
    }
  }
  return touched;
}

void made_up_weights::flip_bit(int layer, int tensor, int row) {
  std::uint8_t byte = 0;
  memory_->read(&byte, at(layer, tensor, row), 1);
  byte ^= 4;
  memory_->write(at(layer, tensor, row), &byte, 1);
}

std::vector<ballast_tensor> made_up_weights::tensors(int layer) const {
  std::vector<ballast_tensor> tensors;
  const std::vector<std::size_t> bytes = tensor_bytes(layer);
  for (std::size_t t = 0; t < bytes.size(); ++t)
    tensors.push_back({tensors_[layer][t], bytes[t], stride_of(layer, static_cast<int>(t))});
  return tensors;
}

std::uint8_t* made_up_weights::at(int layer, int tensor, int row) const {
  return tensors_[layer][tensor] + row * stride_of(layer, tensor);
}

}  // namespace ballast
