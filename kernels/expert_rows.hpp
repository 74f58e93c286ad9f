#pragma once
// How kernels see the weights of experts: some tensors each, of any byte sizes, in rows at given
// addresses or packed one behind the other in a buffer.

#include <cstdint>
#include <span>

#include "kernels/host_device.hpp"

namespace ballast {

constexpr int expert_tensors_max = 64;
constexpr std::uint64_t packed_alignment =
    256;  ///< of tensors in a packed buffer, what cudaMalloc gives

/// Of one layer: the tensors that make up an expert.
struct expert_shape {
  std::int32_t tensors = 0;
  std::uint64_t bytes[expert_tensors_max] = {};          ///< of a row
  std::uint64_t packed_offset[expert_tensors_max] = {};  ///< in a packed expert
  std::uint64_t packed_bytes = 0;                        ///< of a packed expert

  bool operator==(const expert_shape&) const = default;
};

/// At most expert_tensors_max tensors with these row sizes.
expert_shape shape_of(std::span<const std::uint64_t> row_bytes);

/// Where some experts are: tensor t of expert i at addresses[i * tensors + t] where there is a list
/// of addresses, or else at packed + i * packed_bytes + packed_offset[t]. For kernels the list is
/// device-readable.
struct expert_rows {
  void* const* addresses = nullptr;
  void* packed = nullptr;
};

BALLAST_HOST_DEVICE inline unsigned char* address_of(const expert_shape& shape,
                                                     const expert_rows& rows, std::int64_t expert,
                                                     int tensor) {
  if (rows.addresses != nullptr)
    return static_cast<unsigned char*>(rows.addresses[expert * shape.tensors + tensor]);
  return static_cast<unsigned char*>(rows.packed) + expert * shape.packed_bytes +
         shape.packed_offset[tensor];
}

/// Some experts out of a list of addresses: tensor t of the i-th is at addresses[first[i] + t].
/// Goes to a kernel by value.
struct picked_experts {
  static constexpr int most = 32;
  void* const* addresses = nullptr;
  std::uint32_t first[most] = {};
};

BALLAST_HOST_DEVICE inline unsigned char* address_of(const expert_shape&,
                                                     const picked_experts& picked,
                                                     std::int64_t expert, int tensor) {
  return static_cast<unsigned char*>(picked.addresses[picked.first[expert] + tensor]);
}

}  // namespace ballast
