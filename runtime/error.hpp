#pragma once
// How things fail inside Ballast: one exception type that carries a status, and the calls that
// throw it.

#include <mpi.h>

#include <stdexcept>
#include <string>

#include "runtime/ballast.h"

namespace ballast {

class error : public std::runtime_error {
 public:
  error(ballast_status status, const std::string& text)
      : std::runtime_error(text), status_(status) {}
  ballast_status status() const { return status_; }

 private:
  ballast_status status_;
};

/// Throws error(BALLAST_ERROR_MPI) with the call's text and MPI's own when `code` is not
/// MPI_SUCCESS.
void check_mpi(int code, const char* call);

/// Throws error(BALLAST_ERROR_INTERNAL): a condition that only a bug in Ballast can break.
[[noreturn]] void fail_expectation(const char* condition, const char* text, const char* file,
                                   int line);

}  // namespace ballast

#define BALLAST_MPI(call) ::ballast::check_mpi((call), #call)
#define BALLAST_EXPECT(condition, text) \
  ((condition) ? void(0) : ::ballast::fail_expectation(#condition, (text), __FILE__, __LINE__))
