#pragma once
// The context behind the C handle: owns every communicator, buffer and thread, and takes them
// through configured -> registered -> started -> finished.

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "policies/recovery.hpp"
#include "runtime/backend.hpp"
#include "runtime/balancer.hpp"
#include "runtime/discovery.hpp"
#include "runtime/live_placement.hpp"
#include "runtime/settings.hpp"

namespace ballast {

class runtime {
 public:
  /// Collective; see ballast_create. `arguments`: what the caller found wrong with them, so that
  /// all ranks fail alike; then `config` is any.
  runtime(const ballast_config& config, MPI_Comm comm, const verdict& arguments);

  void register_layer(int layer, std::span<const ballast_tensor> tensors);
  void start();
  /// Collective; see ballast_destroy. After it has thrown, MPI or the planner's thread still use
  /// parts of this object, which must then never be destroyed.
  void finish();

  void record(int layer, const ballast_ids& ids);
  void record_counts(int layer, const std::int64_t* counts);
  void record_time(std::int64_t ns);
  void route(int layer, const ballast_ids& ids, int mode, void* slots) const;
  void record_route(int layer, const ballast_ids& ids, int mode, void* slots);
  void step(ballast_step_result* result);
  void pause(int how);
  void resume();
  void set_ranks(const std::int32_t* speed, const std::uint8_t* masked);
  /// See ballast_lost. Throws error(STATE) if there is none at that index.
  ballast_loss loss(const std::uint8_t* masked, int index) const;

  /// Throws error(INVALID_ARGUMENT) naming the layer if there is none such.
  void require_layer(int layer) const;
  void* allocate_rows(std::size_t bytes);
  const backend& device() const { return *backend_; }
  std::int32_t transport_from(int rank) const;
  const live_placement& live() const { return *live_; }
  const ballast::settings& config() const { return settings_; }
  std::uint64_t expert_hash(int layer, int expert) const;
  const ballast_epoch* report(int index) const;
  ballast_counters counters() const;
  std::span<const ballast_damage> damaged() const;
  /// Empty if there is none at that index.
  std::span<const std::int64_t> past_window(int index) const;

 private:
  void require_started() const;
  void require_routable(int layer, const ballast_ids& ids, int mode, const void* slots) const;
  void require_idle() const;
  recovery recover_from(const rank_marks& marks) const;
  void require_loaded(const recovery& found) const;
  void require_plannable(const placement& current, const rank_marks& marks) const;
  std::vector<std::int32_t> usable_slots() const;
  void compare_shapes();
  void compare_weights();
  void start_planner();

  // In the order in which they must outlive each other; once finish() has returned nothing is
  // under way, and the destructors need no more than release.
  mpi_comm vote_comm_;
  mpi_comm weight_comm_;
  settings settings_;
  int rank_ = 0;
  int ranks_ = 0;
  log_sink log_;
  discovered_topology topology_;
  std::optional<live_placement> live_;
  std::unique_ptr<backend> backend_;
  bool start_failed_ = false;
  std::unique_ptr<planner> planner_;
  std::optional<balancer> balancer_;
};

}  // namespace ballast

/// The object behind the C handle.
struct ballast_context {
  ballast::runtime runtime;
};
