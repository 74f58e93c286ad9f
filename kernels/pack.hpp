#pragma once
// Copying experts between rows and packed buffers: packing, unpacking, and moving from row to row.

#include <cstdint>

#include "kernels/device.hpp"
#include "kernels/expert_rows.hpp"

namespace ballast {

/// Copies all tensors of `experts` experts. Source and target do not overlap; the gaps of a packed
/// target are left as they are.
void copy_experts_host(const expert_shape& shape, const expert_rows& from, const expert_rows& to,
                       std::int64_t experts);

/// The same on the device, by `ctas` CTAs (0: as many as fill the GPU). Reads and writes each byte
/// once; rows that are not both aligned to 16 bytes are copied by 4 or by single bytes, slower.
device_status copy_experts_device(const expert_shape& shape, const expert_rows& from,
                                  const expert_rows& to, std::int64_t experts, int ctas,
                                  device_stream stream);
/// Of the first `experts` picked ones: one launch for experts of any rows and layers of a shape.
device_status copy_picked_device(const expert_shape& shape, const picked_experts& from,
                                 const picked_experts& to, int experts, int ctas,
                                 device_stream stream);

}  // namespace ballast
