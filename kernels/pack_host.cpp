#include <cstring>

#include "kernels/pack.hpp"

namespace ballast {

expert_shape shape_of(std::span<const std::uint64_t> row_bytes) {
  expert_shape shape;
  for (const std::uint64_t bytes : row_bytes) {
    shape.bytes[shape.tensors] = bytes;
    shape.packed_offset[shape.tensors] = shape.packed_bytes;
    shape.packed_bytes += (bytes + packed_alignment - 1) / packed_alignment * packed_alignment;
    ++shape.tensors;
  }
  return shape;
}

void copy_experts_host(const expert_shape& shape, const expert_rows& from, const expert_rows& to,
                       std::int64_t experts) {
  for (std::int64_t e = 0; e < experts; ++e) {
    for (int t = 0; t < shape.tensors; ++t) {
      if (shape.bytes[t] > 0)
        std::memcpy(address_of(shape, to, e, t), address_of(shape, from, e, t), shape.bytes[t]);
    }
  }
}

}  // namespace ballast
