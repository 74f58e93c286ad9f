#pragma once
// One epoch of a model that moves, from its loads to its report.

#include <cstdint>
#include <functional>

#include "jobs/bench/cuda/device_model.hpp"

namespace ballast {

struct epoch_measure {
  double seconds = 0;              ///< of the exchange, slowest rank
  double stall_us = 0;             ///< the longest step of any rank
  std::int64_t received = 0;       ///< bytes, by all ranks
  std::int64_t most_received = 0;  ///< bytes, by one rank
  std::int64_t steps = 0;          ///< in the exchange phase
  std::int64_t moves = 0;
  bool committed = false;
};

/// Collective. `meanwhile` is called before every step with the phase after the step before: what
/// the model does in a pass.
epoch_measure run_epoch(const mpi_session& mpi, device_model& model,
                        const std::function<void(int phase)>& meanwhile);

/// Local. Ranks whose weights do not come by `transport`.
std::int64_t wrong_transports(const mpi_session& mpi, const ballast_context* context,
                              std::int32_t transport);

}  // namespace ballast
