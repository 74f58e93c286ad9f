#pragma once
// The registered rows of this rank: for each layer, tensors whose row i holds the expert in slot i.
// Also the two staging halves, and the hashes that all replicas of an expert must have. In host
// memory; what is different on a GPU is virtual (cuda/device_memory.hpp).

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "runtime/ballast.h"

namespace ballast {

/// Where one expert's weights are on this rank: a registered row, or a row of a staging half (then
/// half is 0 or 1).
struct weight_location {
  std::int32_t row = 0;
  std::int32_t half = -1;
};

/// An expert's weights that change place on this rank.
struct expert_copy {
  std::int32_t layer = 0;
  weight_location from;
  weight_location to;
};

class expert_memory {
 public:
  expert_memory(int layers, int experts, int rows_per_rank);
  virtual ~expert_memory() = default;
  expert_memory(const expert_memory&) = delete;

  /// [layers] how many rows layers have, up to rows_per_rank; before any is registered.
  void limit_rows(std::vector<std::int32_t> rows) { rows_of_layer_ = std::move(rows); }

  /// Throws error(INVALID_ARGUMENT or STATE) naming layer and tensor; nothing is registered then.
  void register_layer(int layer, std::span<const ballast_tensor> tensors);

  /// The first layer that is not registered, or -1.
  int first_missing_layer() const;

  /// A digest of the tensor sizes of a layer, without addresses and strides: the same on all ranks
  /// that agree.
  std::uint64_t shape_digest(int layer) const;

  /// Allocates the staging halves of `rows` rows each, for the largest expert. Throws error(MEMORY)
  /// stating the bytes.
  virtual void allocate_staging(int rows);

  int layers() const { return static_cast<int>(layers_.size()); }
  int rows_per_rank() const { return rows_per_rank_; }
  /// Those of the layer that have memory: rows 0 to this - 1.
  int rows_of(int layer) const { return rows_of_layer_[layer]; }
  int staging_rows() const { return staging_rows_; }
  int tensor_count(int layer) const { return static_cast<int>(layers_[layer].tensors.size()); }
  std::size_t tensor_bytes(int layer, int tensor) const {
    return layers_[layer].tensors[tensor].row_bytes;
  }
  std::int64_t expert_bytes(int layer) const { return layers_[layer].expert_bytes; }
  std::int64_t expert_bytes_max() const;
  int tensor_count_max() const;
  std::size_t tensor_stride(int layer, int tensor) const {
    return layers_[layer].tensors[tensor].row_stride;
  }
  /// From its first row's first byte to its last row's last.
  std::size_t tensor_span(int layer, int tensor) const {
    return (rows_of(layer) - 1) * tensor_stride(layer, tensor) + tensor_bytes(layer, tensor);
  }
  std::byte* address(int layer, int tensor, weight_location where) const;
  /// Where a tensor begins in the staging, of a place there; the same on all ranks.
  std::size_t staging_offset(int layer, int tensor, weight_location where) const {
    const std::size_t row = static_cast<std::size_t>(where.half) * staging_rows_ + where.row;
    return row * staging_row_bytes_ + layers_[layer].staging_offset[tensor];
  }

  virtual std::uint64_t hash(int layer, weight_location where) const;
  /// Of registered rows; `hashes` has one value for each.
  virtual void hash_rows(int layer, std::span<const std::int32_t> rows,
                         std::uint64_t* hashes) const;
  /// None of them reads or writes what another one writes.
  virtual void copy(std::span<const expert_copy> copies) const;
  /// A rehearsal of damage. Blocks.
  virtual void flip_bit(std::byte* at) const { *at ^= std::byte{1}; }

  std::span<std::uint64_t> hashes() {
    return hashes_;
  }  ///< [layers, experts], what the live replicas hold
  std::uint64_t hash_of_expert(int layer, int expert) const {
    return hashes_[static_cast<std::size_t>(layer) * experts_ + expert];
  }

 protected:
  struct layer_memory {
    std::vector<ballast_tensor> tensors;
    std::vector<std::size_t> staging_offset;  // of each tensor in a staging row, aligned
    std::size_t staging_bytes = 0;
    std::int64_t expert_bytes = 0;
    std::uintptr_t begin = 0;  // of all its rows
    std::uintptr_t end = 0;
  };
  /// Decides on the sizes of staging; returns the bytes of both halves. Throws error(MEMORY).
  std::size_t lay_out_staging(int rows);
  void use_staging(std::byte* base) { staging_ = base; }
  /// Throws if the `bytes` bytes of a tensor that begin at `begin` cannot be used.
  virtual void check_space(int layer, int tensor, const void* begin, std::size_t bytes) const;
  [[noreturn]] static void reject(int layer, int tensor, const std::string& why);

 private:
  void check_apart(int layer, const layer_memory& memory) const;

  int experts_;
  int rows_per_rank_;
  std::vector<std::int32_t> rows_of_layer_;  // [layers]
  std::vector<layer_memory> layers_;
  std::vector<std::uint64_t> hashes_;
  std::vector<std::byte> host_staging_;  // [2 halves][rows][largest expert]
  std::byte* staging_ = nullptr;
  std::size_t staging_row_bytes_ = 0;
  int staging_rows_ = 0;
};

}  // namespace ballast
