#pragma once
// The rows of the other ranks of an island, readable by this rank's copy engine: every rank exports
// the memory that holds its rows and its staging, allocations by CUDA IPC and pieces that were
// mapped by their file descriptors, and opens its neighbours'. All that was opened is proven by
// pulling its first bytes and comparing them with what the owner says is there.

#include <mpi.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "runtime/cuda/device_memory.hpp"
#include "runtime/cuda/mapped_pieces.hpp"
#include "runtime/cuda/peer_exports.hpp"

namespace ballast {

struct piece_offer;

class peer_memory {
 public:
  peer_memory() = default;
  peer_memory(peer_memory&& other) noexcept = default;
  peer_memory& operator=(peer_memory&& other) noexcept = default;

  /// Collective over `island`, blocking up to the deadline. Rows must hold their weights, and
  /// nobody may write the first bytes of an allocation meanwhile.
  static peer_memory connect(MPI_Comm island, const device_memory& mine, double deadline_seconds);

  /// Empty if this rank can read all neighbours, otherwise what failed first, in one line.
  const std::string& why_not() const { return why_not_; }

  /// Where a row of the rank `neighbour` of the island is in this process. Not for this rank
  /// itself.
  const std::byte* address(int neighbour, int layer, int tensor, weight_location where) const;

 private:
  struct mapping_release {
    using pointer = void*;
    void operator()(void* base) const noexcept { cudaIpcCloseMemHandle(base); }
  };
  struct allocation_view {
    std::uintptr_t base = 0;  // in its owner's memory
    std::uint64_t bytes = 0;
    std::unique_ptr<void, mapping_release> here;
  };
  struct tensor_view {
    const std::byte* base = nullptr;
    std::uint64_t stride = 0;
  };
  struct neighbour_view {
    std::vector<allocation_view> allocations;
    std::vector<piece_run> runs;
    std::vector<tensor_view> tensors;  // by first_tensor_[layer] + tensor
    const std::byte* staging = nullptr;

    const std::byte* here(std::uintptr_t address) const;
  };
  using exports_of_ranks = std::vector<std::vector<exported_memory>>;

  void open_allocations(int neighbour, const std::vector<exported_memory>& theirs);
  void open_pieces(MPI_Comm island, int self, const exports_of_ranks& all, double deadline_seconds);
  void take_piece(int neighbour, const exported_memory& e, const piece_offer& offer);
  void open_runs();
  void look(int neighbour, const std::vector<exported_memory>& theirs,
            const std::vector<exported_place>& places);
  void map_pieces(int neighbour, const std::vector<exported_memory>& theirs);
  void probe(int neighbour, const std::vector<exported_memory>& theirs);
  void note_failure(int neighbour, const exported_memory& what, const std::string& why_not);

  std::vector<neighbour_view> neighbours_;  // [ranks of the island]
  std::vector<std::size_t> first_tensor_;   // [layers]
  const device_memory* mine_ = nullptr;
  std::string why_not_;  // of the first that failed
};

}  // namespace ballast
