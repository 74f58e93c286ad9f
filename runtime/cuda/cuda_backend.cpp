#include "runtime/cuda/cuda_backend.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "kernels/add_counts.hpp"
#include "runtime/cuda/driver.hpp"
#include "runtime/cuda/peer_islands.hpp"
#include "runtime/error.hpp"
#include "runtime/gather.hpp"
#include "runtime/ids.hpp"

namespace ballast {
namespace {

cudaStream_t as_stream(void* stream) { return static_cast<cudaStream_t>(stream); }

std::size_t size_of_id(const ballast_ids& ids) {
  return ids.type == BALLAST_IDS_INT64 ? sizeof(std::int64_t) : sizeof(std::int32_t);
}

void check_launch(device_status code, const char* what) {
  check_cuda(static_cast<cudaError_t>(code), what);
}

int device_of(const ballast_config& config) {
  int count = 0;
  const cudaError_t code = cudaGetDeviceCount(&count);
  if (code != cudaSuccess || count == 0) {
    cudaGetLastError();
    throw error(BALLAST_ERROR_SYSTEM,
                fmt::format("backend is cuda, but there is no GPU: {}",
                            code == cudaSuccess ? "none is visible" : cudaGetErrorString(code)));
  }
  int device = config.device;
  if (device < 0) BALLAST_CUDA(cudaGetDevice(&device));
  if (device >= count) {
    throw error(BALLAST_ERROR_INVALID_ARGUMENT,
                fmt::format("device is {}, there are {}", device, count));
  }
  return device;
}

}  // namespace

int cuda_device_count() {
  int count = 0;
  if (cudaGetDeviceCount(&count) == cudaSuccess) return count;
  cudaGetLastError();
  return 0;
}

std::unique_ptr<backend> make_cuda_backend(const settings& config, const live_placement& live,
                                           MPI_Comm comm, int rank, const log_sink& log) {
  const int device = device_of(config.config);
  const device_guard guard(device);
  return std::make_unique<cuda_backend>(config, live, comm, rank, log, device);
}

cuda_backend::cuda_backend(const settings& config, const live_placement& live, MPI_Comm comm,
                           int rank, const log_sink& log, int device)
    : config_(config),
      comm_(comm),
      rank_(rank),
      log_(log),
      device_(device),
      compute_(as_stream(config.config.stream)),
      memory_(config.config.layers, config.config.experts, config.rows_per_rank(), device_,
              compute_),
      window_(config.config.layers, config.config.experts, config.config.interval,
              config.config.window, compute_),
      tables_(live, compute_, config.config.deadline_seconds),
      node_of_rank_(config.layout.ranks()),
      step_(1),
      checked_(config.config.layers) {}

cuda_backend::~cuda_backend() {
  int before = 0;
  cudaGetDevice(&before);
  cudaSetDevice(device_);
  exchange_.reset();
  cudaSetDevice(before);
}

void cuda_backend::allocate() {
  const device_guard guard(device_);
  memory_.allocate_staging(config_.config.staging_experts);
}

void cuda_backend::refine(cluster_map& cluster) {
  join_islands_by_peer_access(cluster, comm_, device_, config_.config.deadline_seconds);
}

void cuda_backend::connect(const cluster_map& cluster) {
  const device_guard guard(device_);
  // All ranks are here, and none has had a chance to fail yet.
  island_comm_ = mpi_comm::split(comm_, cluster.ranks[rank_].island, "ballast island");
  std::vector<std::int32_t> nodes;
  for (const rank_place& place : cluster.ranks) nodes.push_back(place.node);
  BALLAST_CUDA(cudaMemcpy(node_of_rank_.data(), nodes.data(), nodes.size() * sizeof(std::int32_t),
                          cudaMemcpyHostToDevice));
  BALLAST_CUDA(cudaStreamSynchronize(cudaStreamLegacy));  // background streams do not wait for it
  connect_island(cluster);
  connect_nccl(cluster);
  device_exchange::options options;
  options.device = device_;
  options.rank = rank_;
  options.rows_per_rank = config_.rows_per_rank();
  options.verify = config_.config.verify;
  options.bytes_per_step = config_.config.bytes_per_step;
  options.hash_ctas = config_.config.hash_ctas;
  options.receives_per_batch = config_.config.receives_per_batch;
  options.moves_max =
      std::int64_t{config_.config.layers} * config_.rows_per_rank() * cluster.rank_count();
  exchange_ = std::make_unique<device_exchange>(comm_, memory_, links_, compute_, options);
}

// Whether the ranks of an island pull from each other is the same for all of them.
void cuda_backend::connect_island(const cluster_map& cluster) {
  const double deadline = config_.config.deadline_seconds;
  const int ranks = cluster.rank_count();
  const std::int32_t mine = cluster.ranks[rank_].island;
  links_.neighbour.assign(ranks, -1);
  int neighbours = 0;
  for (int r = 0; r < ranks; ++r) {
    links_.island.push_back(cluster.ranks[r].island);
    if (cluster.ranks[r].island == mine) links_.neighbour[r] = neighbours++;
  }
  char pulls = config_.config.transport != BALLAST_TRANSPORT_NCCL && neighbours > 1;
  if (pulls != 0) {
    links_.peers = peer_memory::connect(island_comm_.get(), memory_, deadline);
    if (!links_.peers.why_not().empty()) pulls = 0;
  }
  links_.pulls = gather_one(comm_, pulls, deadline, "how GPUs are reached");
  warn_of_fallback(links_.peers.why_not());
  for (int r = 0; r < ranks; ++r) {
    for (int other = 0; other < ranks; ++other) {
      if (links_.island[other] == links_.island[r] && links_.pulls[other] == 0) links_.pulls[r] = 0;
    }
  }
}

// Rank 0 says it of all ranks: by default its warnings are shown, and the others' are not.
void cuda_backend::warn_of_fallback(const std::string& why_not) {
  const auto reasons = gather_values(comm_, std::span<const char>(why_not),
                                     config_.config.deadline_seconds, "how GPUs are reached");
  for (std::size_t r = 0; rank_ == 0 && r < reasons.size(); ++r) {
    if (reasons[r].empty()) continue;
    log_(BALLAST_LOG_WARNING,
         fmt::format("rank {} cannot pull weights from the other GPUs of its island, whose weights "
                     "so travel by NCCL, which is slower: {}",
                     r, std::string_view(reasons[r].data(), reasons[r].size())));
  }
}

void cuda_backend::connect_nccl(const cluster_map& cluster) {
  const int ranks = cluster.rank_count();
  int first = -1;  // a pair of ranks that NCCL must connect
  int second = -1;
  for (int r = 1; r < ranks && first < 0; ++r) {
    if (links_.pulls_between(0, r)) continue;
    first = 0;
    second = r;
  }
  if (first >= 0 && config_.config.transport == BALLAST_TRANSPORT_COPY) {
    throw error(BALLAST_ERROR_SYSTEM,
                fmt::format("transport is copy, but rank {} cannot read the memory of rank {}",
                            first, second));
  }
  if (first >= 0) {
    links_.nccl = std::make_unique<nccl_link>(comm_, config_.config.nccl_ctas,
                                              config_.config.deadline_seconds);
  }
  if (rank_ == 0 && ranks > 1) {
    log_(BALLAST_LOG_INFO,
         first < 0
             ? std::string("weights travel by copy engine between all ranks")
             : fmt::format("weights travel by NCCL {} ({} CTAs) between the ranks that do not "
                           "pull from each other, as {} and {}; {} of {} ranks pull",
                           nccl_link::version(), config_.config.nccl_ctas, first, second,
                           std::ranges::count(links_.pulls, 1), ranks));
  }
}

// What others have opened of this rank's memory must be closed before its owner frees it, and NCCL
// must have sent and received everywhere before anyone ends it.
bool cuda_backend::disconnect() {
  const device_guard guard(device_);
  const double deadline = config_.config.deadline_seconds;
  if (exchange_ && !exchange_->wait_for_nccl(deadline)) return false;
  exchange_.reset();
  links_.peers = peer_memory();
  if (island_comm_.get() != MPI_COMM_NULL && !meet(comm_, deadline)) return false;
  links_.nccl.reset();
  return true;
}

// Kernels of NCCL that wait for a rank that is gone would keep the GPU busy for good.
void cuda_backend::abandon() {
  const device_guard guard(device_);
  island_comm_.abandon();
  links_.nccl.reset();
}

std::int32_t cuda_backend::transport_from(int rank) const {
  if (rank == rank_) return BALLAST_TRANSPORT_LOCAL;
  return links_.pulls_between(rank, rank_) ? BALLAST_TRANSPORT_COPY : BALLAST_TRANSPORT_NCCL;
}

void cuda_backend::record(int layer, const ballast_ids& ids, bool) {
  if (ids.tokens == 0) return;
  const device_guard guard(device_);
  bool capturing = false;
  const cudaStream_t stream = stream_for(ids, capturing);
  check_ids_there(layer, ids);
  check_launch(record_device(to_matrix(ids), window_.counts_of(layer),
                             {ids.valid_tokens_at, nullptr}, stream),
               "record_device");
}

// Into counters that are never reset, as from the ids.
void cuda_backend::record_counts(int layer, const std::int64_t* counts, bool) {
  const device_guard guard(device_);
  check_pointer(counts, "counts", alignof(std::int64_t), checked_[layer].ids);
  check_launch(add_counts_device(counts, window_.counts_of(layer), compute_), "add_counts_device");
}

void cuda_backend::route(int layer, const ballast_ids& ids, int mode, std::int64_t step,
                         void* slots) {
  if (ids.tokens == 0) return;
  const device_guard guard(device_);
  bool capturing = false;
  const cudaStream_t stream = stream_for(ids, capturing);
  check_ids_there(layer, ids);
  check_pointer(slots, "slots", size_of_id(ids), checked_[layer].slots);
  check_launch(
      route_device(to_matrix(ids), tables_.tables(layer), origin_at(step),
                   static_cast<route_mode>(mode), slots, replay_of(ids, capturing), stream),
      "route_device");
}

void cuda_backend::record_route(int layer, const ballast_ids& ids, int mode, std::int64_t step,
                                void* slots, bool) {
  if (ids.tokens == 0) return;
  const device_guard guard(device_);
  bool capturing = false;
  const cudaStream_t stream = stream_for(ids, capturing);
  check_ids_there(layer, ids);
  check_pointer(slots, "slots", size_of_id(ids), checked_[layer].slots);
  check_launch(record_route_device(to_matrix(ids), window_.counts_of(layer), tables_.tables(layer),
                                   origin_at(step), static_cast<route_mode>(mode), slots,
                                   replay_of(ids, capturing), stream),
               "record_route_device");
}

route_origin cuda_backend::origin_at(std::int64_t step) const {
  return {rank_, config_.rows_per_rank(), node_of_rank_.data(), step};
}

// From the first capture of a route on, each step writes its number where replays read it.
replay_values cuda_backend::replay_of(const ballast_ids& ids, bool capturing) {
  captured_ |= capturing;
  return {ids.valid_tokens_at, capturing ? step_.data() : nullptr};
}

cudaStream_t cuda_backend::stream_for(const ballast_ids& ids, bool& capturing) {
  const cudaStream_t stream = ids.stream == nullptr ? compute_ : as_stream(ids.stream);
  cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
  BALLAST_CUDA(cudaStreamIsCapturing(stream, &status));
  capturing = status == cudaStreamCaptureStatusActive;
  return stream;
}

void cuda_backend::check_ids_there(int layer, const ballast_ids& ids) {
  check_pointer(ids.ids, "ids.ids", size_of_id(ids), checked_[layer].ids);
  if (ids.valid_tokens_at == nullptr) return;
  check_pointer(ids.valid_tokens_at, "ids.valid_tokens_at", alignof(std::int64_t),
                checked_[layer].valid_tokens);
}

// What a kernel would stumble over ends the context of the engine's GPU. The pointer found good
// last is not asked about again: an engine passes the same buffers each time.
void cuda_backend::check_pointer(const void* pointer, const char* name, std::size_t alignment,
                                 const void*& checked) {
  if (reinterpret_cast<std::uintptr_t>(pointer) % alignment != 0) {
    throw error(BALLAST_ERROR_INVALID_ARGUMENT,
                fmt::format("{} is no multiple of {} bytes: {}", name, alignment, pointer));
  }
  if (pointer == checked) return;
  cudaPointerAttributes found = {};
  BALLAST_CUDA(cudaPointerGetAttributes(&found, pointer));
  if (found.type != cudaMemoryTypeDevice && found.type != cudaMemoryTypeManaged) {
    throw error(BALLAST_ERROR_INVALID_ARGUMENT,
                fmt::format("{} is no device memory, as the cuda backend needs", name));
  }
  if (found.device != device_ && found.type == cudaMemoryTypeDevice) {
    throw error(BALLAST_ERROR_INVALID_ARGUMENT,
                fmt::format("{} is on device {}, the context on {}", name, found.device, device_));
  }
  checked = pointer;
}

void cuda_backend::cut_window() {
  const device_guard guard(device_);
  window_.cut();
}

const std::int64_t* cuda_backend::window_sums() {
  const device_guard guard(device_);
  return window_.sums();
}

void cuda_backend::publish(std::span<const std::int32_t> layers) {
  const device_guard guard(device_);
  tables_.publish(layers);
}

void cuda_backend::begin_step(std::int64_t step) {
  const device_guard guard(device_);
  window_.begin_step(step);
  if (captured_) write_value(compute_, step_.data(), step);
}

void* cuda_backend::allocate_rows(std::size_t bytes) {
  const device_guard guard(device_);
  rows_.emplace_back(allocate_device(bytes));
  return rows_.back().get();
}

}  // namespace ballast
