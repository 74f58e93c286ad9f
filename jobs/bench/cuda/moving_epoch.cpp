#include "jobs/bench/cuda/moving_epoch.hpp"

#include <fmt/format.h>

#include <cstdio>

namespace ballast {

namespace {

epoch_measure report_epoch(const mpi_session& mpi, const device_model& model) {
  ballast_epoch epoch;
  epoch.struct_size = sizeof(epoch);
  check(ballast_epoch_report(model.context(), 0, &epoch));
  double most[] = {epoch.exchange_seconds, epoch.stall_seconds_max * 1e6,
                   static_cast<double>(epoch.bytes_received)};
  MPI_Allreduce(MPI_IN_PLACE, most, 3, MPI_DOUBLE, MPI_MAX, mpi.comm());
  epoch_measure m;
  m.seconds = most[0];
  m.stall_us = most[1];
  m.most_received = static_cast<std::int64_t>(most[2]);
  m.received = epoch.bytes_received;
  MPI_Allreduce(MPI_IN_PLACE, &m.received, 1, MPI_INT64_T, MPI_SUM, mpi.comm());
  m.moves = epoch.moves;
  m.committed = epoch.outcome == BALLAST_OUTCOME_COMMITTED;
  if (!m.committed && mpi.rank() == 0)
    fmt::print(stderr, "ballast: bench: epoch {} did not commit: {}\n", epoch.epoch, epoch.reason);
  return m;
}

}  // namespace

epoch_measure run_epoch(const mpi_session& mpi, device_model& model,
                        const std::function<void(int phase)>& meanwhile) {
  model.record_other_half();
  std::int64_t steps = 0;
  ballast_step_result result = {};
  do {
    meanwhile(result.phase);
    result = model.step();
    steps += result.phase == BALLAST_PHASE_EXCHANGE;
  } while (result.epoch_closed == 0);
  epoch_measure m = report_epoch(mpi, model);
  m.steps = steps;
  return m;
}

std::int64_t wrong_transports(const mpi_session& mpi, const ballast_context* context,
                              std::int32_t transport) {
  std::int64_t wrong = 0;
  for (int rank = 0; rank < mpi.size(); ++rank) {
    std::int32_t found = 0;
    check(ballast_transport(context, rank, &found));
    wrong += rank != mpi.rank() && found != transport;
  }
  return wrong;
}

}  // namespace ballast
