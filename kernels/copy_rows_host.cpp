#include <cstring>

#include "kernels/copy_rows.hpp"

namespace ballast {

void copy_rows_host(const row_copies& rows) {
  for (int i = 0; i < rows.count; ++i) {
    if (rows.bytes[i] > 0) std::memcpy(rows.to[i], rows.from[i], rows.bytes[i]);
  }
}

}  // namespace ballast
