#pragma once
// The caller's ids, checked and as the kernels take them.

#include "kernels/record.hpp"
#include "runtime/ballast.h"

namespace ballast {

/// Throws error(INVALID_ARGUMENT) naming the field and its value.
void check_ids(const ballast_ids& ids);

id_matrix to_matrix(const ballast_ids& ids);

}  // namespace ballast
