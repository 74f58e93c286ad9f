#pragma once
// Weights, loads and tables on a GPU. Weights travel by copy engine inside an island and by NCCL
// across islands; the caller's stream is the one the model computes on.

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "runtime/backend.hpp"
#include "runtime/cuda/device_exchange.hpp"
#include "runtime/cuda/device_memory.hpp"
#include "runtime/cuda/device_tables.hpp"
#include "runtime/cuda/device_window.hpp"
#include "runtime/mpi_handles.hpp"

namespace ballast {

/// Throws error(SYSTEM or INVALID_ARGUMENT) where there is no GPU, or none of the number asked for.
std::unique_ptr<backend> make_cuda_backend(const settings& config, const live_placement& live,
                                           MPI_Comm comm, int rank, const log_sink& log);

int cuda_device_count();

class cuda_backend final : public backend {
 public:
  /// `device` is the current one.
  cuda_backend(const settings& config, const live_placement& live, MPI_Comm comm, int rank,
               const log_sink& log, int device);
  ~cuda_backend() override;

  expert_memory& memory() override { return memory_; }
  void allocate() override;
  void connect(const cluster_map& cluster) override;
  exchange& transfer() override { return *exchange_; }
  bool disconnect() override;
  void abandon() override;
  void refine(cluster_map& cluster) override;

  void record(int layer, const ballast_ids& ids, bool listening) override;
  void record_counts(int layer, const std::int64_t* counts, bool listening) override;
  void route(int layer, const ballast_ids& ids, int mode, std::int64_t step, void* slots) override;
  void record_route(int layer, const ballast_ids& ids, int mode, std::int64_t step, void* slots,
                    bool listening) override;
  std::int64_t ids_out_of_range() const override { return window_.ids_out_of_range(); }

  bool listens_at(std::int64_t step) const override { return window_.listens_at(step); }
  void cut_window() override;
  const std::int64_t* window_sums() override;
  void turn_window() override {}  // a window is the difference of two snapshots

  void publish(std::span<const std::int32_t> layers) override;
  void begin_step(std::int64_t step) override;

  void* allocate_rows(std::size_t bytes) override;
  void describe_tables(int layer, ballast_layer_tables& out) const override {
    tables_.describe(layer, out);
  }
  std::int32_t transport_from(int rank) const override;

 private:
  /// Pointers that were found to be device memory last.
  struct checked_pointers {
    const void* ids = nullptr;
    const void* slots = nullptr;
    const void* valid_tokens = nullptr;
  };

  cudaStream_t stream_for(const ballast_ids& ids, bool& capturing);
  void check_ids_there(int layer, const ballast_ids& ids);
  void check_pointer(const void* pointer, const char* name, std::size_t alignment,
                     const void*& checked);
  route_origin origin_at(std::int64_t step) const;
  replay_values replay_of(const ballast_ids& ids, bool capturing);
  void connect_island(const cluster_map& cluster);
  void warn_of_fallback(const std::string& why_not);
  void connect_nccl(const cluster_map& cluster);

  const settings& config_;
  MPI_Comm comm_;
  int rank_;
  const log_sink& log_;
  int device_;
  cudaStream_t compute_;
  std::vector<std::unique_ptr<void, device_release>> rows_;  // given to the caller
  device_memory memory_;
  device_window window_;
  device_tables tables_;
  device_buffer<std::int32_t> node_of_rank_;
  device_buffer<std::int64_t> step_;       // what captured graphs route by
  bool captured_ = false;                  // a route
  std::vector<checked_pointers> checked_;  // [layers]
  mpi_comm island_comm_;
  device_links links_;
  std::unique_ptr<device_exchange> exchange_;
};

}  // namespace ballast
