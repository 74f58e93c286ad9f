#include "runtime/cuda/device_tables.hpp"

#include <sched.h>

#include <algorithm>
#include <numeric>
#include <vector>

#include "runtime/error.hpp"
#include "runtime/mpi_handles.hpp"

namespace ballast {
namespace {

constexpr int tables_per_layer = 4;

}  // namespace

device_tables::device_tables(const live_placement& live, cudaStream_t compute,
                             double deadline_seconds)
    : live_(live),
      compute_(compute),
      deadline_seconds_(deadline_seconds),
      experts_(live.current().experts()),
      slots_(live.current().slots()),
      layer_values_(3 * static_cast<std::size_t>(slots_) + experts_ + 1) {
  const std::size_t layers = live.current().layers();
  values_ = device_buffer<std::int32_t>(layers * layer_values_);
  const std::size_t bytes =
      layers * (tables_per_layer * sizeof(table_copy) + layer_values_ * sizeof(std::int32_t));
  for (commit_buffer& b : buffers_) {
    b.here = pinned_buffer<std::byte>(bytes);
    b.there = device_buffer<std::byte>(bytes);
  }
  std::vector<std::int32_t> all(layers);
  std::iota(all.begin(), all.end(), 0);
  publish(all);
  BALLAST_CUDA(cudaStreamSynchronize(compute_));
}

void device_tables::publish(std::span<const std::int32_t> layers) {
  commit_buffer& buffer = buffers_[next_++ % buffers_.size()];
  const auto start = steady_clock::now();
  while (!buffer.read.passed()) {
    if (seconds_since(start) > deadline_seconds_)
      throw error(BALLAST_ERROR_DEADLINE, "the GPU has not read the tables of earlier commits");
    sched_yield();
  }
  const std::size_t tables = tables_per_layer * layers.size();
  auto* list = reinterpret_cast<table_copy*>(buffer.here.data());
  auto* values = reinterpret_cast<std::int32_t*>(list + tables);
  const auto* list_there = reinterpret_cast<const table_copy*>(buffer.there.data());
  const auto* values_there = reinterpret_cast<const std::int32_t*>(list_there + tables);
  const auto add = [&](const std::int32_t* from, const std::int32_t* to, std::int64_t size) {
    std::copy_n(from, size, values);
    *list++ = {values_there, const_cast<std::int32_t*>(to), size};
    values += size;
    values_there += size;
  };
  for (const std::int32_t layer : layers) {
    ballast_layer_tables from = {};
    ballast_layer_tables to = {};
    live_.describe(layer, from);
    describe(layer, to);
    add(from.expert_of_slot, to.expert_of_slot, slots_);
    add(from.replica_first, to.replica_first, experts_ + 1);
    add(from.replica_slot, to.replica_slot, slots_);
    add(from.replica_share_end, to.replica_share_end, slots_);
  }
  const auto bytes =
      static_cast<std::size_t>(reinterpret_cast<std::byte*>(values) - buffer.here.data());
  BALLAST_CUDA(cudaMemcpyAsync(buffer.there.data(), buffer.here.data(), bytes,
                               cudaMemcpyHostToDevice, upload_.get()));
  uploaded_.record(upload_.get());
  BALLAST_CUDA(cudaStreamWaitEvent(compute_, uploaded_.get(), 0));
  check_cuda(static_cast<cudaError_t>(
                 commit_tables_device(list_there, static_cast<std::int32_t>(tables), compute_)),
             "commit_tables_device");
  buffer.read.record(compute_);
}

void device_tables::describe(int layer, ballast_layer_tables& out) const {
  const std::int32_t* base = values_.data() + layer * layer_values_;
  out.expert_of_slot = base;
  out.replica_first = base + slots_;
  out.replica_slot = base + slots_ + experts_ + 1;
  out.replica_share_end = base + 2 * static_cast<std::size_t>(slots_) + experts_ + 1;
  out.version = live_.current().version(layer);
}

route_tables device_tables::tables(int layer) const {
  ballast_layer_tables t = {};
  describe(layer, t);
  return {experts_, t.replica_first, t.replica_slot, t.replica_share_end, slots_};
}

}  // namespace ballast
