#pragma once
// What a replay prints and writes: one row per epoch, a summary, and both as JSON.

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "runtime/ballast.h"

namespace ballast {

/// One epoch as all ranks together saw it.
struct epoch_row {
  ballast_epoch epoch = {};            ///< seconds are the maximum over ranks
  std::optional<double> balance_next;  ///< measured from its end to the next trigger
};

struct replay_summary {
  std::int64_t steps = 0;
  std::int64_t epochs = 0;
  std::int64_t epochs_committed = 0;
  std::int64_t moves = 0;
  std::int64_t bytes[BALLAST_LINK_CLASSES] = {};
  std::optional<double> balance_first;              ///< of the first window, measured
  std::optional<double> balance_last;               ///< of the last complete window
  double step_p50 = 0, step_p99 = 0, step_max = 0;  ///< seconds inside ballast_step, worst rank
  std::int64_t verified_slots = 0;
  std::int64_t wrong_bytes = 0;
  std::optional<bool> outputs_identical;  ///< with --ffn
  std::int64_t outputs_compared = 0;
};

/// `payback`: with a column for it, where the time of a token is stated or measured.
void print_epoch_head(bool payback);
void print_epoch(const epoch_row& row, bool payback);
void print_summary(const replay_summary& summary);

nlohmann::ordered_json to_json(const std::vector<epoch_row>& rows);
nlohmann::ordered_json to_json(const replay_summary& summary);

}  // namespace ballast
