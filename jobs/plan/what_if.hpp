#pragma once
// `ballast plan` with lists of ranks, slots, policies and budgets: every combination planned, one
// row each.

#include "jobs/exit_code.hpp"
#include "jobs/plan/inputs.hpp"

namespace ballast {

/// Prints the table and writes the rows as JSON (schema ballast.plan.what_if/1). A combination that
/// cannot be planned is a row that says why; `bad_input` if that is all of them.
exit_code run_what_if(const plan_options& options, const plan_inputs& inputs,
                      const std::vector<plan_choice>& choices);

}  // namespace ballast
