#pragma once
// Recorded loads in a file. Three forms, told apart by their first bytes and not by their name,
// each plain or gzip:
//
// - JSON: {"steps": [steps][layers][experts] counts, and optionally "layers", "experts", "topk",
// "n_steps",
//   "tokens_per_step": [steps], "model"}; other fields are skipped. Counts may be written as 12
//   or 12.0.
// - .npy [layers, experts] (one step) or [steps, layers, experts]: integers of 8 to 64 bits or
// floats of 16 to
//   64 that hold whole numbers, either byte order, C or Fortran order, header version 1, 2 or 3.

#include <cstdint>
#include <memory>
#include <string>

#include "jobs/loads/load_source.hpp"

namespace ballast {

/// What a file may hold at most: guards against files made to fill the memory.
struct trace_limits {
  std::int64_t file_bytes = std::int64_t{256} << 20;
  std::int64_t plain_bytes = std::int64_t{2} << 30;  ///< after decompression
  std::int32_t layers = 4096;
  std::int32_t experts = 65536;
  std::int64_t steps = std::int64_t{1} << 24;
  std::int64_t cells = std::int64_t{1} << 31;  ///< steps * layers * experts
};

/// Reads the whole file. Memory while reading: a step as int64, and what packed_steps takes for all
/// (1 to 8 bytes a count); for .npy the file's bytes in addition. top_k() is 0 where the file does
/// not say. tokens_per_step() is the file's; without it, the largest layer sum over top_k, rounded
/// up; 0 if neither is known.
///
/// Throws std::invalid_argument with one line "FILE: FIELD VALUE: reason", e.g.
/// "loads.json: steps[3][1][7] is -4: must not be negative": missing, unreadable, directory, empty,
/// cut short, larger than a limit, not JSON, field missing, twice or of the wrong type, ragged
/// rows, no steps, layers or experts, a count that is negative, fractional, not finite or above
/// 2^62, a layer that sums to more, fields that disagree with the data.
std::unique_ptr<load_source> open_trace(const std::string& path, const trace_limits& limits = {});

}  // namespace ballast
