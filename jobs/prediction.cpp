#include "jobs/prediction.hpp"

#include <fmt/format.h>

#include "jobs/exit_code.hpp"
#include "jobs/option_names.hpp"
#include "runtime/ballast.h"

namespace ballast {

option* add_prediction_options(command& command, prediction_options& options) {
  option* prediction =
      command
          .add_option("--prediction", options.name,
                      "From past windows to the next: auto (the memory that would have foretold "
                      "them best), sum, decay (exponential) or robust (their mean, and how far "
                      "they have been off it)")
          ->check(one_of(prediction_names))
          ->capture_default_str();
  command
      .add_option("--decay-shift", options.decay_shift,
                  "--prediction decay: a window counts 1 - 2^-N of the one after it (default: 1)")
      ->check(range(1, 16))
      ->needs(prediction);
  return prediction;
}

std::int32_t prediction_of(const prediction_options& options) {
  const std::int32_t prediction = index_of("--prediction", options.name, prediction_names);
  if (options.decay_shift > 0 && prediction != BALLAST_PREDICTION_DECAY) {
    throw job_error(exit_code::usage,
                    fmt::format("--decay-shift is for --prediction decay, not {}", options.name));
  }
  return prediction;
}

}  // namespace ballast
