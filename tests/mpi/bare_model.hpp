#pragma once
// A made-up model under Ballast without the checks of live_model, for tests of single calls and of
// what fails. Every step of its life is the test's to take.

#include <mpi.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "runtime/ballast.h"
#include "tests/mpi/made_up_weights.hpp"
#include "tests/mpi/model_memory.hpp"

namespace ballast {

class bare_model {
 public:
  bare_model(MPI_Comm comm, const ballast_config& config);
  /// Whatever comes of it.
  ~bare_model() { destroy(); }
  bare_model(const bare_model&) = delete;

  ballast_status create();
  /// Fills every row with what it must hold and registers all layers.
  ballast_status load();
  ballast_status start() { return ballast_start(context); }
  /// All three, up to the first that fails.
  ballast_status begin();
  ballast_status destroy();

  /// [experts] tokens of this rank.
  ballast_status record_counts(int layer, const std::vector<std::int64_t>& counts);
  /// Records the made-up loads of `seed` and `step`.
  void record(std::uint64_t seed, std::int64_t step);

  ballast_config config;
  ballast_context* context = nullptr;

 private:
  MPI_Comm comm_;
  int rows_;
  made_up_weights weights_;
  std::unique_ptr<model_memory> memory_ = make_model_memory();
};

}  // namespace ballast
