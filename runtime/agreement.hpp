#pragma once
// Start-up agreement: before anything whose size depends on configuration, all ranks exchange one
// record of a fixed size. So a rank that failed its own checks, or was configured differently,
// fails all ranks with one text.

#include <mpi.h>

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "runtime/ballast.h"

namespace ballast {

/// What one rank found out about itself.
struct verdict {
  ballast_status status = BALLAST_OK;
  std::string text;
};

/// A value that must be the same on all ranks.
struct agreed_field {
  const char* name;
  std::int64_t value;
};
inline constexpr std::size_t agreed_fields_max = 64;

/// Collective, blocking up to the deadline. Throws on all ranks, or on none: the first failing
/// rank's error with its number in front, or CONFIG_MISMATCH naming the first field that differs,
/// the values and the ranks. Works also when ranks pass different numbers of fields (then their
/// versions of Ballast differ, and it says so).
void agree(MPI_Comm comm, const verdict& mine, const std::vector<agreed_field>& fields,
           double deadline_seconds);

/// Collective, blocking up to the deadline; then throws error(DEADLINE) naming the silent ranks.
/// Each value becomes the smallest of all ranks'; all pass as many.
void minimise_over_ranks(MPI_Comm comm, std::vector<std::uint64_t>& values,
                         double deadline_seconds);

/// Runs `check` and turns what it throws into a verdict.
template <typename Check>
verdict verdict_of(Check&& check);

}  // namespace ballast

#include "runtime/guard.hpp"

template <typename Check>
ballast::verdict ballast::verdict_of(Check&& check) {
  const ballast_status status = guard(check);
  return {status, status == BALLAST_OK ? "" : last_error_text()};
}
