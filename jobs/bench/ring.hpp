#pragma once
// What MPI gives without Ballast: every rank sends messages to the next rank and receives as many
// from the one before, one of each at a time, between as many rows as hold the weights that Ballast
// moves. The yardstick of `ballast bench exchange`.

#include <cstddef>
#include <cstdint>
#include <vector>

#include "jobs/mpi_session.hpp"

namespace ballast {

class bare_ring {
 public:
  /// Collective. `rows`: [rows][tensors], two or more, where an expert's tensors fit; they are
  /// written and must stay. Take them from the memory that the ring is compared with: which pages
  /// the kernel gave is worth a tenth of the bandwidth.
  bare_ring(const mpi_session& mpi, std::vector<std::vector<std::byte*>> rows,
            std::vector<std::size_t> tensor_bytes);

  /// Collective. Seconds of the slowest rank for `experts` experts, a message per tensor; walks on
  /// through the rows from call to call.
  double run(std::int64_t experts);

  /// Local. Bytes that are not those of the rank before, over all rows received since construction.
  std::int64_t wrong_bytes() const;

 private:
  std::size_t pairs() const { return rows_.size() / 2; }

  const mpi_session& mpi_;
  std::vector<std::vector<std::byte*>> rows_;  // even: sources; odd: targets
  std::vector<std::size_t> tensor_bytes_;
  std::size_t next_ = 0;      // of the row pairs
  std::size_t received_ = 0;  // row pairs used at least once
};

}  // namespace ballast
