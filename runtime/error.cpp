#include "runtime/error.hpp"

#include <fmt/format.h>

namespace ballast {

void check_mpi(int code, const char* call) {
  if (code == MPI_SUCCESS) return;
  char text[MPI_MAX_ERROR_STRING] = "";
  int length = 0;
  MPI_Error_string(code, text, &length);
  const std::string name(call, std::string_view(call).find('('));
  throw error(BALLAST_ERROR_MPI, fmt::format("{} failed: {}", name, text));
}

void fail_expectation(const char* condition, const char* text, const char* file, int line) {
  const std::string_view path(file);
  throw error(BALLAST_ERROR_INTERNAL, fmt::format("{} ({} does not hold, {}:{})", text, condition,
                                                  path.substr(path.find_last_of('/') + 1), line));
}

}  // namespace ballast
