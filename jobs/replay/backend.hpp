#pragma once
// Where a replay's weights, ids and slots are and what a pass does with them: host memory, or a GPU
// for each rank. The job itself (replay.cpp) is the same for both.

#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "jobs/mpi_session.hpp"
#include "jobs/replay/options.hpp"
#include "jobs/replay/weights.hpp"

namespace ballast {

struct replay_shape;

struct output_comparison {
  std::int64_t compared = 0;
  std::int64_t different = 0;
};

/// To be destroyed after the context that it configured.
class replay_backend {
 public:
  virtual ~replay_backend() = default;
  replay_backend(const replay_backend&) = delete;
  replay_backend& operator=(const replay_backend&) = delete;

  virtual const char* name() const = 0;
  /// Where the weights are, for the head of the report: "host memory".
  virtual std::string describe() const = 0;

  /// Sets the fields that say where the context works.
  virtual void configure(ballast_config& config) const = 0;
  /// Local, between ballast_create and ballast_register_layer. The rows of all layers.
  virtual weight_rows& allocate(ballast_context* context) = 0;
  /// Collective, after ballast_start: readies compare_outputs() with a copy of the rows as they
  /// are.
  virtual void keep_initial() = 0;

  /// Local. Records and routes this rank's ids of one layer.
  virtual void play(ballast_context* context, int layer, std::span<const std::int32_t> ids) = 0;
  /// Collective. Expert FFNs of the tokens played last, the first ids of them: through their routed
  /// slots and live rows, and through `initial_slots` and the initial rows.
  virtual void compare_outputs(int layer, std::int64_t step,
                               std::span<const std::int32_t> initial_slots) = 0;

  /// Local. Seconds that the live experts of this rank took in compare_outputs() since the last
  /// call, in proportion for all ids that were played; 0 if there was none.
  virtual double take_expert_seconds() = 0;

  /// Local, blocking. Adds to [layers][ranks] the ids that play() sent to each rank since the last
  /// call.
  virtual void take_routed(std::span<std::int64_t> routed) = 0;
  /// Local, blocking. What compare_outputs() has found so far.
  virtual output_comparison outputs() = 0;

 protected:
  replay_backend() = default;
};

/// Collective. The one that --backend asks for, which `choice` explains where it is auto. Throws
/// job_error(system) on all ranks where --backend cuda cannot be had.
std::unique_ptr<replay_backend> make_replay_backend(const mpi_session& mpi,
                                                    const replay_options& options,
                                                    const replay_shape& shape, std::string& choice);

/// Throws std::invalid_argument for what the host cannot do.
std::unique_ptr<replay_backend> make_host_replay(const mpi_session& mpi,
                                                 const replay_options& options,
                                                 const replay_shape& shape);

/// Collective. "" if every rank can have a GPU of its own; otherwise why not, the same text on all.
std::string why_not_a_gpu_each(const mpi_session& mpi);

/// Collective. Rank r of a node has its GPU r modulo their number. Throws job_error(system) where
/// there is none, or too little memory.
std::unique_ptr<replay_backend> make_cuda_replay(const mpi_session& mpi,
                                                 const replay_options& options,
                                                 const replay_shape& shape);

}  // namespace ballast
