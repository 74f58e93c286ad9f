#pragma once
// A checked copy of the caller's configuration.

#include <cstdint>
#include <string>
#include <vector>

#include "policies/placement.hpp"
#include "policies/plugin.hpp"
#include "runtime/agreement.hpp"
#include "runtime/ballast.h"
#include "runtime/rank_marks.hpp"

namespace ballast {

/// A fault to rehearse on one rank in one epoch.
enum class drill_kind : std::uint8_t { none, digest, checksum, source, error, stall };
struct drill {
  drill_kind kind = drill_kind::none;
  int rank = -1;
  std::int64_t epoch = -1;
};
const char* drill_kinds_text();

struct settings {
  ballast_config config;  ///< numbers as given, defaults resolved (bytes_per_step 0: unpaced); its
                          ///< pointers are not to be used, but for `stream`
  std::string policy;
  const plugin_policy* plugin = nullptr;  ///< if the policy is not one of Ballast's own
  ballast::drill drill;
  slot_layout layout;                         ///< slots_per_rank + spare_rows rows on every rank
  std::vector<std::int32_t> usable_slots;     ///< [ranks]
  std::vector<std::int32_t> slots_per_layer;  ///< [layers], or empty: slots_per_rank in every one
  rank_marks marks;
  placement initial;
  std::vector<std::int64_t> past_windows;  ///< [windows][layers][experts], oldest first

  /// Throws error(INVALID_ARGUMENT) naming field and value.
  static settings read(const ballast_config& config, int ranks);

  /// [layers] rows that a layer has on every rank.
  std::vector<std::int32_t> rows_per_layer() const;
  int rows_per_rank() const { return config.slots_per_rank + config.spare_rows; }
  /// Steps whose loads an epoch sums.
  std::int64_t window_steps() const {
    const std::int64_t interval = config.interval;
    return config.window <= interval ? config.window
                                     : (config.window + interval - 1) / interval * interval;
  }
  /// [layers, experts].
  std::size_t cells() const { return static_cast<std::size_t>(config.layers) * config.experts; }
  /// What one rank may have in a cell of one bucket: whatever all ranks record in all buckets, a
  /// cell's sum stays within 2^62.
  std::int64_t window_count_max() const {
    return (std::int64_t{1} << 62) / layout.ranks() / (config.window / config.interval + 1);
  }

  /// What must be the same on all ranks.
  std::vector<agreed_field> agreed_fields() const;
};

}  // namespace ballast
