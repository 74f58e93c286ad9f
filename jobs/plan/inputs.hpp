#pragma once
// What the options of `ballast plan` name, read and checked: loads, the placement there is, what an
// expert weighs.

#include <cstdint>
#include <optional>
#include <vector>

#include "jobs/placement_file.hpp"
#include "jobs/plan/options.hpp"

namespace ballast {

struct plan_inputs {
  std::int32_t layers = 0;
  std::int32_t experts = 0;
  std::vector<std::int64_t> loads;  ///< [windows][layers][experts], sums of steps, oldest first
  std::int32_t windows = 1;         ///< more than one only with --series
  std::int64_t window_steps = 0;    ///< steps of each
  std::int32_t groups = 1;
  std::int64_t expert_bytes = 0;          ///< 0: unknown
  std::optional<placement_file> current;  ///< of --current
};

/// Throws job_error or std::invalid_argument naming the option, file or field.
plan_inputs read_plan_inputs(const plan_options& options);

}  // namespace ballast
