#pragma once
// How the command line ends: exit codes that scripts rely on, and the exceptions that lead to them.

#include <stdexcept>
#include <string>

#include "runtime/ballast.h"

namespace ballast {

enum class exit_code : int {
  ok = 0,
  usage = 64,
  bad_input = 65,
  internal = 70,
  system = 71,
  temporary = 75,
  mismatch = 78,
  terminated = 143,
};

exit_code exit_code_of(ballast_status status);

/// Ends the job with one line of text. `alone`: the other ranks do not know of it and may be
/// waiting for this one.
class job_error : public std::runtime_error {
 public:
  job_error(exit_code code, const std::string& text, bool alone = false)
      : std::runtime_error(text), code_(code), alone_(alone) {}
  exit_code code() const { return code_; }
  bool alone() const { return alone_; }

 private:
  exit_code code_;
  bool alone_;
};

/// Throws job_error with the library's text when the status is not BALLAST_OK.
void check(ballast_status status);

/// The code and text for the exception being handled. To be called inside a catch block only.
job_error current_job_error();

}  // namespace ballast
