#include "jobs/exit_code.hpp"

#include <new>

namespace ballast {

exit_code exit_code_of(ballast_status status) {
  switch (status) {
    case BALLAST_OK:
      return exit_code::ok;
    case BALLAST_ERROR_INVALID_ARGUMENT:
      return exit_code::bad_input;
    case BALLAST_ERROR_CONFIG_MISMATCH:
      return exit_code::mismatch;
    case BALLAST_ERROR_DEADLINE:
      return exit_code::temporary;
    case BALLAST_ERROR_MPI:
    case BALLAST_ERROR_MEMORY:
    case BALLAST_ERROR_SYSTEM:
      return exit_code::system;
    case BALLAST_ERROR_STATE:
    case BALLAST_ERROR_INTERNAL:
      break;
  }
  return exit_code::internal;
}

void check(ballast_status status) {
  if (status != BALLAST_OK) throw job_error(exit_code_of(status), ballast_last_error());
}

job_error current_job_error() {
  try {
    throw;
  } catch (const job_error& e) {
    return e;
  } catch (const std::invalid_argument& e) {
    return {exit_code::bad_input, e.what()};
  } catch (const std::bad_alloc&) {
    return {exit_code::system, "out of memory"};
  } catch (const std::exception& e) {
    return {exit_code::internal, e.what()};
  }
}

}  // namespace ballast
