#include "runtime/guard.hpp"

#include <fmt/format.h>

#include <cstring>
#include <new>
#include <stdexcept>
#include <system_error>

#include "runtime/error.hpp"

namespace ballast {
namespace {

// A fixed buffer: keeping an error's text must not fail itself.
thread_local char last_error[error_text_max] = "";

}  // namespace

ballast_status remember_error(ballast_status status, const char* text) noexcept {
  std::strncpy(last_error, text, sizeof(last_error) - 1);
  last_error[sizeof(last_error) - 1] = '\0';
  return status;
}

ballast_status remember_current_exception() noexcept {
  try {
    throw;
  } catch (const error& e) {
    return remember_error(e.status(), e.what());
  } catch (const std::invalid_argument& e) {
    return remember_error(BALLAST_ERROR_INVALID_ARGUMENT, e.what());
  } catch (const std::length_error& e) {  // a size that no allocation can have
    return remember_error(BALLAST_ERROR_MEMORY, e.what());
  } catch (const std::bad_alloc&) {
    return remember_error(BALLAST_ERROR_MEMORY, "out of memory");
  } catch (const std::system_error& e) {
    return remember_error(BALLAST_ERROR_SYSTEM, e.what());
  } catch (const std::exception& e) {
    return remember_error(BALLAST_ERROR_INTERNAL, e.what());
  } catch (...) {
    return remember_error(BALLAST_ERROR_INTERNAL, "an unknown exception");
  }
}

const char* last_error_text() noexcept { return last_error; }

void require_argument(const void* pointer, const char* name) {
  if (pointer == nullptr)
    throw error(BALLAST_ERROR_INVALID_ARGUMENT, fmt::format("{} is NULL", name));
}

void require_in_range(const char* field, std::int64_t value, std::int64_t least,
                      std::int64_t most) {
  if (value >= least && value <= most) return;
  throw error(BALLAST_ERROR_INVALID_ARGUMENT,
              fmt::format("{} is {}, expected {} to {}", field, value, least, most));
}

void require_struct_size(std::size_t stated, std::size_t least, std::size_t known,
                         const char* name) {
  if (stated < least || stated > known) {
    throw error(BALLAST_ERROR_INVALID_ARGUMENT,
                fmt::format("{}.struct_size is {}, this library knows {} to {}: call its "
                            "initialiser, or set it to sizeof",
                            name, stated, least, known));
  }
}

}  // namespace ballast
