#pragma once
// The 64-bit hash that proves that an expert's bytes arrived. Built to be computed in parallel in
// any order, so that one definition serves a host core, and a GPU at copy speed: a keyed sum over
// 8-byte words.
//
//   word i (little endian, the tail padded with zeros), key k_i = seed + (i + 1) *
//   0x9e3779b97f4a7c15 v_i = w_i xor k_i sum = sum over i of low32(v_i) * high32(v_i) + (low32(w_i)
//   + high32(w_i)) * 2^32      (mod 2^64) hash = avalanche(sum xor bytes * 0xc2b2ae3d27d4eb4f xor
//   seed)
//
// Products of keyed halves are the NH construction (Black et al., UMAC, 1999), as in XXH3. The
// plain halves make every single flipped bit show: bit b of a half moves the product by 2^b times
// the other half, which is less than the 2^(b + 32) by which it moves them, so the two never
// cancel. It guards against faults, not against forgers.

#include <cstddef>
#include <cstdint>

#include "kernels/device.hpp"
#include "kernels/expert_rows.hpp"

namespace ballast {

/// The sum over a piece of a tensor that begins `offset` bytes into it, a multiple of 8. The sums
/// of the pieces, in any order, add up to the tensor's; all pieces but the last hold a multiple of
/// 8 bytes. Reads each byte once: the floor is the memory bandwidth. `data` needs no alignment.
std::uint64_t hash_sum_host(const void* data, std::size_t bytes, std::uint64_t seed,
                            std::uint64_t offset);

/// The hash of a tensor of `bytes` bytes from its sum.
std::uint64_t finish_hash(std::uint64_t sum, std::uint64_t bytes, std::uint64_t seed);

/// Both, of a whole tensor.
std::uint64_t hash_bytes_host(const void* data, std::size_t bytes, std::uint64_t seed);

/// Adds a tensor's hash to that of the tensors before it; start with 0.
std::uint64_t combine_hash(std::uint64_t hash, std::uint64_t tensor_hash);

/// The hashes of `experts` experts: their tensors' hashes combined in order, tensor t seeded with t
/// + 1.
void hash_experts_host(const expert_shape& shape, const expert_rows& rows, std::int64_t experts,
                       std::uint64_t* hashes);

/// Number of std::uint64_t of scratch that hash_experts_device wants.
constexpr std::size_t hash_scratch_size(std::int32_t tensors, std::int64_t experts) {
  return static_cast<std::size_t>(tensors) * static_cast<std::size_t>(experts) + 1;
}

/// The same on the device, by `ctas` CTAs (0: as many as fill the GPU); `hashes` may be pinned host
/// memory. `scratch`: hash_scratch_size values of device memory, zero before the first launch; each
/// launch leaves them zero. Launches that share scratch are ordered. Reads each byte once; rows
/// that are not aligned to 16 bytes are read by narrower loads, slower.
device_status hash_experts_device(const expert_shape& shape, const expert_rows& rows,
                                  std::int64_t experts, std::uint64_t* hashes,
                                  std::uint64_t* scratch, int ctas, device_stream stream);
/// Of the first `experts` picked ones: one launch for experts of any rows and layers of a shape.
device_status hash_picked_device(const expert_shape& shape, const picked_experts& picked,
                                 int experts, std::uint64_t* hashes, std::uint64_t* scratch,
                                 int ctas, device_stream stream);

}  // namespace ballast
