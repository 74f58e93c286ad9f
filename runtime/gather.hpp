#pragma once
// Start-up collectives with a deadline. What MPI still owns when the deadline passes is left to it.

#include <mpi.h>

#include <cstddef>
#include <span>
#include <vector>

namespace ballast {

/// Collective, blocking up to the deadline: every rank's bytes, by rank; ranks may give different
/// numbers of them, less than 2^31 in all. Throws error(DEADLINE) that says `what` is missing.
std::vector<std::vector<std::byte>> gather_bytes(MPI_Comm comm, std::span<const std::byte> mine,
                                                 double deadline_seconds, const char* what);

/// The same for values that can be copied byte by byte.
template <typename Value>
std::vector<std::vector<Value>> gather_values(MPI_Comm comm, std::span<const Value> mine,
                                              double deadline_seconds, const char* what) {
  std::vector<std::vector<Value>> all;
  for (const std::vector<std::byte>& bytes :
       gather_bytes(comm, std::as_bytes(mine), deadline_seconds, what)) {
    const auto* values = reinterpret_cast<const Value*>(bytes.data());
    all.emplace_back(values, values + bytes.size() / sizeof(Value));
  }
  return all;
}

/// One value of every rank.
template <typename Value>
std::vector<Value> gather_one(MPI_Comm comm, const Value& mine, double deadline_seconds,
                              const char* what) {
  std::vector<Value> all;
  for (const std::vector<Value>& values :
       gather_values(comm, std::span<const Value>(&mine, 1), deadline_seconds, what))
    all.push_back(values.at(0));
  return all;
}

/// Collective, blocking up to the deadline; false if not all ranks came.
bool meet(MPI_Comm comm, double deadline_seconds);

}  // namespace ballast
