#include "runtime/cuda/peer_memory.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "kernels/hash.hpp"
#include "runtime/agreement.hpp"
#include "runtime/cuda/driver.hpp"
#include "runtime/error.hpp"
#include "runtime/gather.hpp"

namespace ballast {
namespace {

constexpr std::size_t probe_bytes_max = 4096;

/// One allocation as its owner describes it.
struct exported {
  cudaIpcMemHandle_t handle = {};
  std::uint64_t bytes = 0;
  std::uint64_t probe_hash = 0;  ///< of its first bytes
  std::int32_t refusal = 0;      ///< the cudaError_t with which it could not be exported, or 0
  std::int32_t reserved = 0;
};

/// Where something begins: in which of the owner's allocations, and where in it.
struct place {
  std::uint64_t allocation = 0;
  std::uint64_t offset = 0;
  std::uint64_t stride = 0;
};

struct rank_exports {
  std::vector<exported> allocations;
  std::vector<place> places;  // of all tensors, then of the staging
};

std::uint64_t hash_of_probe(const void* device_bytes, std::size_t bytes) {
  std::array<std::byte, probe_bytes_max> here = {};
  BALLAST_CUDA(cudaMemcpy(here.data(), device_bytes, bytes, cudaMemcpyDeviceToHost));
  return hash_bytes_host(here.data(), bytes, 0);
}

class exporter {
 public:
  place find(const void* address, std::uint64_t stride) {
    const device_allocation all = allocation_of(address);
    const auto known = std::ranges::find(bases_, all.base);
    const auto index = static_cast<std::size_t>(known - bases_.begin());
    if (known == bases_.end()) add(all);
    return {index, reinterpret_cast<std::uintptr_t>(address) - all.base, stride};
  }
  std::vector<exported> take() { return std::move(exported_); }

 private:
  void add(const device_allocation& all) {
    auto* base = reinterpret_cast<void*>(all.base);
    exported e;
    e.bytes = all.bytes;
    e.refusal = static_cast<std::int32_t>(cudaIpcGetMemHandle(&e.handle, base));
    cudaGetLastError();
    e.probe_hash = hash_of_probe(base, std::min(all.bytes, probe_bytes_max));
    bases_.push_back(all.base);
    exported_.push_back(e);
  }

  std::vector<std::uintptr_t> bases_;
  std::vector<exported> exported_;
};

rank_exports exports_of(const device_memory& mine) {
  rank_exports all;
  exporter found;
  for (int layer = 0; layer < mine.layers(); ++layer) {
    for (int t = 0; t < mine.tensor_count(layer); ++t)
      all.places.push_back(
          found.find(mine.address(layer, t, {0, -1}), mine.tensor_stride(layer, t)));
  }
  all.places.push_back(found.find(mine.staging(), 0));
  all.allocations = found.take();
  return all;
}

/// Opens an allocation and pulls its first bytes; empty in `why_not` if they are what they should
/// be.
void* open_allocation(const exported& e, const device_buffer<std::byte>& scratch,
                      std::string& why_not) {
  if (e.refusal != 0) {
    why_not = fmt::format("its owner cannot export it: {}",
                          cudaGetErrorName(static_cast<cudaError_t>(e.refusal)));
    return nullptr;
  }
  void* base = nullptr;
  const cudaError_t code = cudaIpcOpenMemHandle(&base, e.handle, cudaIpcMemLazyEnablePeerAccess);
  if (code != cudaSuccess) {
    cudaGetLastError();
    why_not = fmt::format("it cannot be opened: {}", cudaGetErrorName(code));
    return nullptr;
  }
  const std::size_t bytes = std::min<std::size_t>(e.bytes, probe_bytes_max);
  const cudaError_t pulled = cudaMemcpy(scratch.data(), base, bytes, cudaMemcpyDefault);
  if (pulled != cudaSuccess) {
    cudaGetLastError();
    why_not = fmt::format("it cannot be read: {}", cudaGetErrorName(pulled));
  } else if (hash_of_probe(scratch.data(), bytes) != e.probe_hash) {
    why_not = "reading it gives other bytes than its owner has";
  }
  return base;
}

}  // namespace

peer_memory peer_memory::connect(MPI_Comm island, const device_memory& mine,
                                 double deadline_seconds) {
  peer_memory result;
  result.mine_ = &mine;
  std::size_t tensors = 0;
  for (int layer = 0; layer < mine.layers(); ++layer) {
    result.first_tensor_.push_back(tensors);
    tensors += mine.tensor_count(layer);
  }
  rank_exports own;
  agree(island, verdict_of([&] { own = exports_of(mine); }), {}, deadline_seconds);
  constexpr const char* what = "the memory of the island's GPUs";
  const auto allocations = gather_values<exported>(island, own.allocations, deadline_seconds, what);
  const auto places = gather_values<place>(island, own.places, deadline_seconds, what);

  int self = 0;
  BALLAST_MPI(MPI_Comm_rank(island, &self));
  const device_buffer<std::byte> scratch(probe_bytes_max);
  result.neighbours_.resize(allocations.size());
  for (std::size_t r = 0; r < allocations.size(); ++r) {
    neighbour_view& view = result.neighbours_[r];
    if (static_cast<int>(r) == self) continue;
    for (const exported& e : allocations[r]) {
      std::string why_not;
      view.mappings.emplace_back(open_allocation(e, scratch, why_not));
      if (!why_not.empty() && result.why_not_.empty()) {
        result.why_not_ = fmt::format("rank {} of the island, an allocation of {} bytes: {}", r,
                                      e.bytes, why_not);
      }
    }
    if (!result.why_not_.empty()) break;
    for (const place& p : places[r]) {
      view.tensors.push_back(
          {static_cast<const std::byte*>(view.mappings[p.allocation].get()) + p.offset, p.stride});
    }
    view.staging = view.tensors.back().base;
  }
  return result;
}

const std::byte* peer_memory::address(int neighbour, int layer, int tensor,
                                      weight_location where) const {
  const neighbour_view& view = neighbours_[neighbour];
  if (where.half < 0) {
    const tensor_view& t = view.tensors[first_tensor_[layer] + tensor];
    return t.base + where.row * t.stride;
  }
  return view.staging + mine_->staging_offset(layer, tensor, where);
}

}  // namespace ballast
