#pragma once
// The measurements of `ballast bench step`, for models in either kind of memory.

#include <cstdint>
#include <functional>

#include "jobs/bench/call_options.hpp"

namespace ballast {

/// A model that moves (moving_model.hpp), as far as its steps need it.
struct moving_context {
  ballast_context* context;
  std::function<void()> record;         ///< makes the other half of the experts hot
  std::function<std::int64_t()> wrong;  ///< of this rank's live rows
};

/// What differs from the defaults.
ballast_config step_config(const step_bench_options& options);

/// Collective. A row for steps without an epoch; `context` is in mode STATIC.
void measure_idle_steps(const mpi_session& mpi, const step_bench_options& options,
                        ballast_context* context, bench_table& table);
/// Collective. A row for each phase of an epoch.
void measure_steps_in_flight(const mpi_session& mpi, const step_bench_options& options,
                             const moving_context& model, bench_table& table);

}  // namespace ballast
