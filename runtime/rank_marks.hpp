#pragma once
// What a caller says of the ranks: how fast they are, and which are not to be used.

#include <cstdint>
#include <vector>

#include "policies/placement.hpp"
#include "policies/speeds.hpp"
#include "runtime/agreement.hpp"

namespace ballast {

struct rank_marks {
  std::vector<std::int32_t> speed;   ///< [ranks], or empty: all the same
  std::vector<std::uint8_t> masked;  ///< [ranks] BALLAST_RANK_*, or empty: all serve
  std::vector<std::uint8_t> gone;    ///< [ranks] nonzero: BALLAST_RANK_GONE; or empty: none

  /// Of the ranks that serve; refers to `speed`.
  speed_scale scale(int ranks) const;
  /// Whether a masked rank has an expert.
  bool occupied(const placement& current) const;
  /// What must be the same on all ranks.
  std::vector<agreed_field> agreed_fields() const;
};

/// [ranks] each, or null. Throws error(INVALID_ARGUMENT) naming field, rank and value.
rank_marks read_rank_marks(const std::int32_t* speed, const std::uint8_t* masked, int ranks);

}  // namespace ballast
