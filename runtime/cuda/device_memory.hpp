#pragma once
// Registered rows and staging on a GPU.

#include <cstdint>
#include <vector>

#include "kernels/expert_rows.hpp"
#include "runtime/cuda/cuda_handles.hpp"
#include "runtime/expert_memory.hpp"

namespace ballast {

class device_memory final : public expert_memory {
 public:
  /// `compute` is the caller's stream: the copies of a commit are ordered on it.
  device_memory(int layers, int experts, int rows_per_rank, int device, cudaStream_t compute);

  /// Also makes the tables of addresses that kernels read: all layers must be registered. Hashes
  /// are then those of the rows as the compute stream leaves them now.
  void allocate_staging(int rows) override;

  /// Block until the GPU has done it; for ballast_start and for finding out who damaged an expert.
  std::uint64_t hash(int layer, weight_location where) const override;
  void hash_rows(int layer, std::span<const std::int32_t> rows,
                 std::uint64_t* hashes) const override;
  /// Enqueued on the compute stream.
  void copy(std::span<const expert_copy> copies) const override;
  /// The same on a stream of the caller's choice, by `ctas` CTAs (0: as many as fill the GPU). One
  /// launch for as many as have the same shape one after the other: each takes 2 us on the GPU
  /// however small.
  void copy_on(cudaStream_t stream, std::span<const expert_copy> copies, int ctas) const;
  void flip_bit(std::byte* at) const override;

  /// For kernels: an expert's tensors, and the addresses of one that is there, in device memory.
  const expert_shape& shape(int layer) const { return shapes_[layer]; }
  expert_rows rows_at(int layer, weight_location where) const;
  /// The same for many at once: the list of all addresses, and where in it those of one begin.
  void* const* addresses() const { return addresses_.data(); }
  std::uint32_t first_address(int layer, weight_location where) const;

  const std::byte* staging() const { return device_staging_.data(); }

 protected:
  void check_space(int layer, int tensor, const void* begin, std::size_t bytes) const override;

 private:
  int device_;
  cudaStream_t compute_;
  background_stream stream_;
  device_buffer<std::byte> device_staging_;  // [2 halves][rows][largest expert]
  device_buffer<void*> addresses_;           // [layers][rows, then both staging halves'][tensors]
  std::vector<std::size_t> first_address_;   // [layers]
  std::vector<expert_shape> shapes_;         // [layers]
  device_buffer<std::uint64_t> scratch_;
  pinned_buffer<std::uint64_t> hashes_;  // [rows]
};

}  // namespace ballast
