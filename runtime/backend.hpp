#pragma once
// Where a context's weights, loads and routing tables live: host memory, or a GPU. The step
// protocol (balancer.hpp), the start-up checks (runtime.hpp) and the schedule are the same for
// both; what differs stands behind this interface.

#include <mpi.h>

#include <cstdint>
#include <memory>
#include <span>

#include "runtime/exchange.hpp"
#include "runtime/expert_memory.hpp"
#include "runtime/live_placement.hpp"
#include "runtime/log.hpp"
#include "runtime/settings.hpp"
#include "topology/cluster_map.hpp"

namespace ballast {

/// Called on the caller's thread only, inside Ballast calls.
class backend {
 public:
  virtual ~backend() = default;
  backend(const backend&) = delete;
  backend& operator=(const backend&) = delete;

  virtual expert_memory& memory() = 0;

  /// Local. Allocates all that is needed from ballast_start on. Throws error(MEMORY) stating bytes.
  virtual void allocate() = 0;
  /// Collective, blocking up to the deadline. Readies the links between ranks; then transfer() may
  /// be used.
  virtual void connect(const cluster_map& cluster) = 0;
  virtual exchange& transfer() = 0;
  /// Collective, blocking up to the deadline: undoes connect(). False if ranks are silent.
  virtual bool disconnect() = 0;
  /// Local: ends what is under way without the other ranks, which are silent. Nothing but
  /// destruction may follow, or nothing at all.
  virtual void abandon() = 0;

  /// Collective: what this backend knows better than the machine's description.
  virtual void refine(cluster_map& cluster) = 0;
  /// Memory for the caller's tensors, until the end. Throws error(MEMORY).
  virtual void* allocate_rows(std::size_t bytes) = 0;
  /// How weights come from a rank, BALLAST_TRANSPORT_*.
  virtual std::int32_t transport_from(int rank) const = 0;

  /// Counts a pass's choices into the window, if it is `listening`.
  virtual void record(int layer, const ballast_ids& ids, bool listening) = 0;
  /// Throws error(INVALID_ARGUMENT) if a count is negative or overflows the window.
  virtual void record_counts(int layer, const std::int64_t* counts, bool listening) = 0;
  virtual void route(int layer, const ballast_ids& ids, int mode, std::int64_t step,
                     void* slots) = 0;
  /// Both; faster than one after the other where it can be.
  virtual void record_route(int layer, const ballast_ids& ids, int mode, std::int64_t step,
                            void* slots, bool listening) {
    record(layer, ids, listening);
    route(layer, ids, mode, step, slots);
  }
  virtual std::int64_t ids_out_of_range() const = 0;

  /// Whether the loads of step `step` belong to the window.
  virtual bool listens_at(std::int64_t step) const = 0;
  /// Ends the window with the loads recorded so far; they are in window_sums() when that is ready.
  virtual void cut_window() = 0;
  /// [layers, experts], this rank's; null while the sums are on their way. Valid until the next
  /// cut.
  virtual const std::int64_t* window_sums() = 0;
  /// Ends an interval: what is older than the window is forgotten.
  virtual void turn_window() = 0;

  /// The tables of these layers have changed (live_placement): passes from the next on use them.
  virtual void publish(std::span<const std::int32_t> layers) = 0;
  /// The passes from here on belong to step `step`.
  virtual void begin_step(std::int64_t step) = 0;
  /// The tables where kernels read them.
  virtual void describe_tables(int layer, ballast_layer_tables& out) const = 0;

 protected:
  backend() = default;
};

/// The backend that `config` asks for; references are kept. `weight_comm` carries weights, sums of
/// windows, and what is asked at start-up and at the end. Throws error(SYSTEM) where this build or
/// machine does not have it.
std::unique_ptr<backend> make_backend(const settings& config, const live_placement& live,
                                      MPI_Comm weight_comm, int rank, const log_sink& log);

/// How many GPUs this process sees.
int device_count();

}  // namespace ballast
