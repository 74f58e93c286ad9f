#pragma once
// Where a context's messages go.

#include <cstdint>
#include <functional>
#include <string>

namespace ballast {

/// Level (BALLAST_LOG_*) and one line.
using log_sink = std::function<void(std::int32_t level, const std::string& text)>;

}  // namespace ballast
