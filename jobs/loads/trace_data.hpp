#pragma once
// What the readers of the trace formats produce. Private to jobs/loads.

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "jobs/loads/byte_source.hpp"
#include "jobs/loads/packed_steps.hpp"
#include "jobs/loads/trace.hpp"

namespace ballast {

struct trace_data {
  std::string model;  ///< printable; empty if unknown
  std::int32_t layers = 0;
  std::int32_t experts = 0;
  std::int32_t top_k = 0;
  std::vector<std::int64_t> tokens;  ///< per step; empty if unknown
  packed_steps steps;
};

/// Each reads the source to its end and throws std::invalid_argument as open_trace promises.
trace_data read_json_trace(byte_source& source, const trace_limits& limits);
trace_data read_npy_trace(byte_source& source, const trace_limits& limits);

/// Checks and appends one step, counts being >= 0 and at most load_max: throws if a layer's sum
/// passes load_max. Returns the largest layer sum.
std::int64_t append_step(trace_data& data, std::span<const std::int64_t> counts,
                         const byte_source& source);

}  // namespace ballast
