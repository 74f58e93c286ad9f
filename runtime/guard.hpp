#pragma once
// The C boundary: every exported function is one call of guard(), which turns exceptions into
// statuses.

#include <cstdint>
#include <string>
#include <utility>

#include "runtime/ballast.h"

namespace ballast {

/// Bytes of the longest text that is kept, its end included.
inline constexpr int error_text_max = 1024;

/// Keeps `text` for ballast_last_error() on this thread and returns `status`.
ballast_status remember_error(ballast_status status, const char* text) noexcept;

/// What remember_error() kept on this thread.
const char* last_error_text() noexcept;

/// Classifies the exception being handled. To be called inside a catch block only.
ballast_status remember_current_exception() noexcept;

template <typename Function>
ballast_status guard(Function&& function) noexcept {
  try {
    std::forward<Function>(function)();
    return BALLAST_OK;
  } catch (...) {
    return remember_current_exception();
  }
}

/// Throws error(BALLAST_ERROR_INVALID_ARGUMENT) naming the argument if the pointer is NULL.
void require_argument(const void* pointer, const char* name);

/// Throws the same if a caller's number is not in [least, most].
void require_in_range(const char* field, std::int64_t value, std::int64_t least, std::int64_t most);

/// Throws the same if a caller's struct states a size that no version of it has had: smaller than
/// `least` (the size of its first version) or larger than this library knows.
void require_struct_size(std::size_t stated, std::size_t least, std::size_t known,
                         const char* name);

/// Copies `value` to the caller's struct, whose stated size must be known; it keeps that size.
template <typename Struct>
void copy_out(const Struct& value, Struct* out, const char* name) {
  require_argument(out, name);
  const std::size_t size = out->struct_size;
  require_struct_size(size, sizeof(Struct), sizeof(Struct), name);
  *out = value;
  out->struct_size = size;
}

}  // namespace ballast
