#pragma once
// `ballast plan --curve`: the balance that a plan reaches for the bytes it may move.

#include "jobs/exit_code.hpp"
#include "jobs/plan/inputs.hpp"

namespace ballast {

/// Plans with budgets of 0, 1, 2, 4, ... moves per layer until a larger one changes nothing, then
/// without limit; prints a row and a bar for each and writes JSON (schema ballast.plan.curve/1).
/// Needs inputs.expert_bytes.
exit_code run_curve(const plan_options& options, const plan_inputs& inputs,
                    const plan_choice& choice);

}  // namespace ballast
