#pragma once
// From the options of a replay to a source of loads, a shape and a started Ballast context.

#include <cstdint>
#include <memory>
#include <optional>

#include "jobs/loads/load_source.hpp"
#include "jobs/mpi_session.hpp"
#include "jobs/placement_file.hpp"
#include "jobs/replay/backend.hpp"
#include "jobs/replay/options.hpp"
#include "jobs/replay/shape.hpp"
#include "jobs/replay/weights.hpp"

namespace ballast {

/// Opens the trace or generator, settles the shape, and reads the placement to begin with, where
/// there is one: of --state if this job `resumes`, or of --placement. Throws std::invalid_argument
/// or job_error naming option, file or field.
std::unique_ptr<load_source> open_loads(const replay_options& options, int ranks, bool resumes,
                                        replay_shape& shape,
                                        std::optional<placement_file>& initial);

struct context_deleter {
  void operator()(ballast_context* context) const;
};
using context_handle = std::unique_ptr<ballast_context, context_deleter>;

/// Collective. The context with its initial placement and, if this job `resumes`, the loads saved
/// with it; not yet registered.
context_handle create_context(const mpi_session& mpi, const replay_options& options,
                              const replay_shape& shape, const replay_backend& backend,
                              bool resumes, const std::optional<placement_file>& initial);

/// Collective. Fills the rows as the tables say, registers them and starts.
void load_and_start(const mpi_session& mpi, ballast_context* context, const replay_shape& shape,
                    weight_rows& weights);

/// Collective, after the start. How weights travel between ranks: "copy", "nccl" or both, "mpi", or
/// "local" where there is one rank.
std::string transports(const mpi_session& mpi, const ballast_context* context);

}  // namespace ballast
