#pragma once
// The values of --objective.

#include <cstdint>
#include <string_view>

#include "runtime/ballast.h"

namespace ballast {

/// `name`: tokens or activations, as the option has checked.
inline std::int32_t objective_of(std::string_view name) {
  return name == "activations" ? BALLAST_OBJECTIVE_ACTIVATIONS : BALLAST_OBJECTIVE_TOKENS;
}

}  // namespace ballast
