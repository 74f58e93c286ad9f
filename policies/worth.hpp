#pragma once
// Whether a plan is worth carrying out: hysteresis, so that a placement is not replaced for
// nothing.

#include <cstdint>
#include <string>

#include "policies/plan.hpp"

namespace ballast {

struct worth_limits {
  std::int32_t balance_min_permille = 1000;  ///< act only if the balance now is below this
  std::int32_t gain_min_permille = 0;        ///< and only if the plan improves it by at least this
};

/// Empty if the plan should be carried out, otherwise why not, in one line. A plan that moves
/// nothing needs no gain: changing shares is free. Decided in integers.
std::string why_not_worth(const plan& candidate, int ranks, const worth_limits& limits);

}  // namespace ballast
