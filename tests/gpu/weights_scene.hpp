#pragma once
// Experts of random bytes on both sides, as rows at any alignment.

#include <algorithm>
#include <cstdint>
#include <optional>
#include <random>
#include <vector>

#include "kernels/expert_rows.hpp"
#include "tests/gpu/device_fixture.hpp"

namespace ballast {

inline std::vector<unsigned char> random_bytes(std::size_t size, std::mt19937_64& random) {
  std::vector<unsigned char> bytes((size + 7) / 8 * 8);
  for (std::size_t i = 0; i < bytes.size(); i += 8) {
    const std::uint64_t word = random();
    std::memcpy(bytes.data() + i, &word, 8);
  }
  bytes.resize(size);
  return bytes;
}

/// Row i of tensor t begins at a multiple of `alignment` in one buffer, whose bytes are the same on
/// both sides at first.
struct weight_rows {
  weight_rows(const expert_shape& shape, std::int64_t experts, std::uint64_t alignment,
              std::mt19937_64& random)
      : bytes(random_bytes(total(shape, experts, alignment), random)), device_bytes(bytes) {
    std::uint64_t at = 0;
    for (std::int64_t i = 0; i < experts * shape.tensors; ++i) {
      host_addresses.push_back(bytes.data() + at);
      device_addresses.push_back(device_bytes.data() + at);
      at += (shape.bytes[i % shape.tensors] / alignment + 1) * alignment;
    }
    device_list.emplace(device_addresses);
  }

  expert_rows host() { return {host_addresses.data(), nullptr}; }
  expert_rows device() const { return {device_list->data(), nullptr}; }

  std::vector<unsigned char> bytes;
  device_array<unsigned char> device_bytes;
  std::vector<void*> host_addresses, device_addresses;
  std::optional<device_array<void*>> device_list;

 private:
  static std::uint64_t total(const expert_shape& shape, std::int64_t experts,
                             std::uint64_t alignment) {
    std::uint64_t sum = 0;
    for (int t = 0; t < shape.tensors; ++t) sum += (shape.bytes[t] / alignment + 1) * alignment;
    return sum * static_cast<std::uint64_t>(experts);
  }
};

/// `tensors` random row sizes around the edges at which the kernels change their ways.
inline expert_shape random_shape(int tensors, std::uint64_t longest, std::mt19937_64& random) {
  std::vector<std::uint64_t> sizes(tensors);
  for (std::uint64_t& size : sizes) {
    const std::uint64_t edges[] = {
        0, 1, 7, 8, 9, 15, 16, 17, 8191, 8192, 8193, 4 * 8192, random() % (longest + 1)};
    size = std::min(edges[random() % std::size(edges)], longest);
  }
  return shape_of(sizes);
}

}  // namespace ballast
