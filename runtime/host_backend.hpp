#pragma once
// Weights, loads and tables in host memory; weights travel by MPI.

#include <cstdint>
#include <optional>
#include <vector>

#include "runtime/backend.hpp"
#include "runtime/host_exchange.hpp"
#include "runtime/live_placement.hpp"
#include "runtime/load_window.hpp"
#include "runtime/settings.hpp"

namespace ballast {

class host_backend final : public backend {
 public:
  /// References are kept. `weight_comm` carries nothing but weights.
  host_backend(const settings& config, const live_placement& live, MPI_Comm weight_comm, int rank);

  expert_memory& memory() override { return memory_; }
  void allocate() override { memory_.allocate_staging(config_.config.staging_experts); }
  void connect(const cluster_map& cluster) override;
  exchange& transfer() override { return *exchange_; }
  bool disconnect() override { return true; }
  void abandon() override {}
  void refine(cluster_map&) override {}
  void* allocate_rows(std::size_t bytes) override;
  std::int32_t transport_from(int rank) const override {
    return rank == rank_ ? BALLAST_TRANSPORT_LOCAL : BALLAST_TRANSPORT_MPI;
  }

  void record(int layer, const ballast_ids& ids, bool listening) override;
  void record_counts(int layer, const std::int64_t* counts, bool listening) override;
  void route(int layer, const ballast_ids& ids, int mode, std::int64_t step, void* slots) override;
  std::int64_t ids_out_of_range() const override { return ids_out_of_range_; }

  bool listens_at(std::int64_t step) const override { return window_.listens_at(step); }
  void cut_window() override { window_.sum(sums_); }
  const std::int64_t* window_sums() override { return sums_.data(); }
  void turn_window() override { window_.turn(); }

  void publish(std::span<const std::int32_t>) override {}  // the tables are the live ones
  void begin_step(std::int64_t) override {}
  void describe_tables(int layer, ballast_layer_tables& out) const override {
    live_.describe(layer, out);
  }

 private:
  std::span<std::int64_t> counts_of(int layer);

  const settings& config_;
  const live_placement& live_;
  MPI_Comm weight_comm_;
  int rank_;
  std::vector<std::unique_ptr<std::byte[]>> rows_;  // given to the caller
  expert_memory memory_;
  load_window window_;
  std::vector<std::int64_t> sums_;  // [layers, experts] of the window that was cut last
  std::vector<std::uint32_t> record_scratch_;
  std::vector<std::int32_t> node_of_rank_;
  std::int64_t ids_out_of_range_ = 0;
  std::optional<host_exchange> exchange_;
};

}  // namespace ballast
