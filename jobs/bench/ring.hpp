#pragma once
// What MPI gives without Ballast: every rank sends messages to the next rank and receives as many
// from the one before, one of each at a time, between rows of a memory as large as the weights that
// Ballast moves. The yardstick of `ballast bench exchange`.

#include <cstddef>
#include <cstdint>
#include <vector>

#include "jobs/mpi_session.hpp"

namespace ballast {

class bare_ring {
 public:
  /// Collective. `rows` rows, each of one expert's tensors; all pages are touched.
  bare_ring(const mpi_session& mpi, std::size_t rows, std::vector<std::size_t> tensor_bytes);

  /// Collective. Seconds of the slowest rank for `experts` experts, a message per tensor; walks on
  /// through the rows from call to call.
  double run(std::int64_t experts);

  /// Local. Bytes that are not those of the rank before, over all rows received since construction.
  std::int64_t wrong_bytes() const;

 private:
  std::byte* row(std::size_t index) { return memory_.data() + index * stride_; }

  const mpi_session& mpi_;
  std::size_t rows_;  // even: sources; odd: targets
  std::vector<std::size_t> tensor_bytes_;
  std::size_t stride_ = 0;
  std::vector<std::byte> memory_;
  std::size_t next_ = 0;      // of the row pairs
  std::size_t received_ = 0;  // row pairs used at least once
};

}  // namespace ballast
