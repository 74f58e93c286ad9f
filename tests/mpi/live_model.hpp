#pragma once
// A made-up model under Ballast, through the C interface, that checks after every step on every
// rank what Ballast promises: tables alike on all ranks, a legal placement, right bytes in every
// row that serves, and epochs that do exactly what the oracle says. All calls are collective over
// its communicator. What fails is reported by GoogleTest.

#include <mpi.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "policies/placement.hpp"
#include "runtime/ballast.h"
#include "tests/mpi/made_up_weights.hpp"
#include "tests/mpi/model_memory.hpp"
#include "tests/mpi/oracle.hpp"

namespace ballast {

int rank_of(MPI_Comm comm);
int size_of(MPI_Comm comm);

/// Whether all ranks of `comm` hold the same value or text. Collective.
bool same_everywhere(MPI_Comm comm, std::uint64_t value);
bool same_everywhere(MPI_Comm comm, const std::string& text);

/// A small model: 3 layers, 13 experts, two slots per rank more than needed, an epoch every 8
/// steps.
ballast_config small_config(int ranks);

struct live_options {
  ballast_config config;
  int ranks_per_node = 0;  ///< 0: all ranks on one node
  std::uint64_t load_seed = 1;
  bool loads_are_zero = false;
  bool rows_may_be_damaged =
      false;  ///< by a fault in the test: then only the test calls check_rows()
};

class live_model {
 public:
  live_model(MPI_Comm comm, const live_options& options);
  ~live_model();
  live_model(const live_model&) = delete;

  /// One pass: record, route, step, check everything.
  ballast_step_result step();
  void play(int steps);
  /// Steps until `done` says so after a step; false (and a failure) if that takes more than `most`
  /// steps.
  bool step_until(const std::function<bool(const ballast_step_result&)>& done, int most = 3000);
  bool finish_epoch() {
    return step_until([](const ballast_step_result& r) { return r.epoch_closed != 0; });
  }

  ballast_status destroy();

  ballast_context* context() { return context_; }
  const std::vector<ballast_epoch>& closed() const { return closed_; }
  const std::vector<std::string>& log() const { return log_; }
  bool logged(const std::string& part) const;
  ballast_counters counters() const;
  placement current() const;
  made_up_weights& weights() { return *weights_; }
  oracle& expectation() { return *oracle_; }
  std::uint64_t tables_digest() const;

  void check_tables();
  void check_rows();

 private:
  void record(std::int64_t step);
  void check_routes(std::int64_t step);
  void check_epoch();

  MPI_Comm comm_;
  int rank_;
  int ranks_;
  live_options options_;
  int rows_;
  ballast_topology* topology_ = nullptr;
  std::unique_ptr<model_memory> memory_;
  std::optional<made_up_weights> weights_;
  std::optional<oracle> oracle_;
  ballast_context* context_ = nullptr;
  std::vector<std::string> log_;
  std::vector<ballast_epoch> closed_;
  std::int64_t steps_ = 0;
  std::int64_t epochs_ = 0;
  int duplicates_ = 0;
  std::int64_t received_before_ = 0;
};

}  // namespace ballast
