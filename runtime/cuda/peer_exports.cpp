#include "runtime/cuda/peer_exports.hpp"

#include <algorithm>
#include <array>
#include <map>

#include "kernels/hash.hpp"
#include "runtime/cuda/driver.hpp"

namespace ballast {
namespace {

exported_memory describe(const device_allocation& one) {
  auto* base = reinterpret_cast<void*>(one.base);
  exported_memory e;
  e.base = one.base;
  e.bytes = one.bytes;
  if (opens_by_ipc(base)) {
    e.refusal = static_cast<std::int32_t>(cudaIpcGetMemHandle(&e.handle, base));
    cudaGetLastError();
  } else {
    e.is_piece = 1;
  }
  e.probe_hash = hash_of_probe(base, std::min(one.bytes, probe_bytes_max));
  return e;
}

}  // namespace

std::uint64_t hash_of_probe(const void* device_bytes, std::size_t bytes) {
  std::array<std::byte, probe_bytes_max> here = {};
  BALLAST_CUDA(cudaMemcpy(here.data(), device_bytes, bytes, cudaMemcpyDeviceToHost));
  return hash_bytes_host(here.data(), bytes, 0);
}

peer_exports exports_of(const device_memory& mine) {
  std::map<std::uintptr_t, exported_memory> found;
  peer_exports all;
  const auto add = [&](const std::byte* begin, std::size_t bytes, std::uint64_t stride) {
    for (const device_allocation& one : allocations_of(begin, bytes)) {
      if (!found.contains(one.base)) found.emplace(one.base, describe(one));
    }
    all.places.push_back({reinterpret_cast<std::uintptr_t>(begin), stride});
  };
  for (int layer = 0; layer < mine.layers(); ++layer) {
    for (int t = 0; t < mine.tensor_count(layer); ++t) {
      add(mine.address(layer, t, {0, -1}), mine.tensor_span(layer, t),
          mine.tensor_stride(layer, t));
    }
  }
  add(mine.staging(), 1, 0);
  for (const auto& [base, e] : found) all.memory.push_back(e);
  return all;
}

}  // namespace ballast
