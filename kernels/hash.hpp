#pragma once
// The 64-bit hash that proves that an expert's bytes arrived. Built to be computed in parallel in any
// order, so that one definition serves a host core, and a GPU at copy speed: a keyed sum over 8-byte words.
//
//   word i (little endian, the tail padded with zeros), key k_i = seed + (i + 1) * 0x9e3779b97f4a7c15
//   v_i = w_i xor k_i
//   sum = sum over i of low32(v_i) * high32(v_i) + (w_i with its halves swapped)      (mod 2^64)
//   hash = avalanche(sum xor bytes * 0xc2b2ae3d27d4eb4f xor seed)
//
// Products of keyed halves are the NH construction (Black et al., UMAC, 1999), as in XXH3; the plain sum
// keeps a word visible whose other half meets its key. It guards against faults, not against forgers.

#include <cstddef>
#include <cstdint>

namespace ballast {

/// Reads each byte once: the floor is the memory bandwidth. `data` needs no alignment.
std::uint64_t hash_bytes_host(const void* data, std::size_t bytes, std::uint64_t seed);

/// Adds a tensor's hash to that of the tensors before it; start with 0.
std::uint64_t combine_hash(std::uint64_t hash, std::uint64_t tensor_hash);

}  // namespace ballast
