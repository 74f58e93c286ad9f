#include "jobs/replay/weights.hpp"

#include <algorithm>
#include <bit>
#include <cstring>
#include <new>

namespace ballast {
namespace {

std::uint64_t mix(std::uint64_t x) {
  x ^= x >> 30;
  x *= 0xbf58476d1ce4e5b9ull;
  x ^= x >> 27;
  x *= 0x94d049bb133111ebull;
  return x ^ (x >> 31);
}

// Three quarters of the words would do; a modulo 3 of each half's top bits gives -1, 0, 1 evenly.
std::uint64_t ternary_pair(std::uint64_t random) {
  const auto value = [](std::uint32_t bits) {
    const float f = static_cast<float>(static_cast<int>(((bits >> 16) * 3) >> 16) - 1);
    return std::bit_cast<std::uint32_t>(f);
  };
  return static_cast<std::uint64_t>(value(static_cast<std::uint32_t>(random >> 32))) << 32 |
         value(static_cast<std::uint32_t>(random));
}

struct content_of {
  std::uint64_t key;
  weight_content content;
  content_of(int layer, int expert, int tensor, weight_content what)
      : key(mix((static_cast<std::uint64_t>(layer) << 40) ^
                (static_cast<std::uint64_t>(expert) << 8) ^ tensor ^ 0x42616c6c617374ull)),
        content(what) {}
  std::uint64_t word(std::size_t i) const {
    const std::uint64_t random = mix(key + (i + 1) * 0x9e3779b97f4a7c15ull);
    return content == weight_content::bytes ? random : ternary_pair(random);
  }
};

}  // namespace

replay_weights::replay_weights(int layers, int rows, std::vector<std::size_t> tensor_bytes,
                               weight_content content)
    : rows_(rows), tensor_bytes_(std::move(tensor_bytes)), memory_(layers), content_(content) {
  for (const std::size_t bytes : tensor_bytes_) {
    // A stride that is not the row's size is the usual case in engines; rows start on 16 bytes.
    std::size_t all = 0;
    stride_.push_back((bytes + 15) / 16 * 16);
    if (__builtin_mul_overflow(stride_.back(), static_cast<std::size_t>(rows), &all))
      throw std::bad_alloc();
    for (auto& layer : memory_) layer.emplace_back(all);
  }
}

void replay_weights::fill(int layer, int row, int expert) {
  for (std::size_t t = 0; t < tensor_bytes_.size(); ++t) {
    std::byte* at = memory_[layer][t].data() + row * stride_[t];
    const content_of content(layer, expert, static_cast<int>(t), content_);
    for (std::size_t offset = 0; offset < tensor_bytes_[t]; offset += 8) {
      const std::uint64_t word = content.word(offset / 8);
      std::memcpy(at + offset, &word, std::min<std::size_t>(8, tensor_bytes_[t] - offset));
    }
  }
}

std::int64_t replay_weights::wrong_bytes(int layer, int row, int expert) const {
  std::int64_t wrong = 0;
  for (std::size_t t = 0; t < tensor_bytes_.size(); ++t) {
    const std::byte* at = address(layer, static_cast<int>(t), row);
    const content_of content(layer, expert, static_cast<int>(t), content_);
    for (std::size_t offset = 0; offset < tensor_bytes_[t]; offset += 8) {
      const std::size_t n = std::min<std::size_t>(8, tensor_bytes_[t] - offset);
      const std::uint64_t expected = content.word(offset / 8);
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
