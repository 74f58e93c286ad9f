#pragma once
// --prediction and --decay-shift: from a series of windows to the window that is planned for.

#include <cstdint>
#include <string>

#include "jobs/command_line.hpp"

namespace ballast {

struct prediction_options {
  std::string name = "auto";
  std::int32_t decay_shift = 0;  ///< 0: not given, which is 1
};

/// Returns --prediction.
option* add_prediction_options(command& command, prediction_options& options);

/// BALLAST_PREDICTION_*. Throws job_error(usage) if a --decay-shift is given that nothing would
/// look at.
std::int32_t prediction_of(const prediction_options& options);

/// The shift for the library.
inline std::int32_t decay_shift_of(const prediction_options& options) {
  return options.decay_shift > 0 ? options.decay_shift : 1;
}

}  // namespace ballast
