#pragma once
// `ballast plan --explain`: what each move of the plan buys.

#include <nlohmann/json_fwd.hpp>

#include "jobs/plan/planned.hpp"

namespace ballast {

/// Per changed layer the fullest rank before, with shares alone and as planned, and the moves in
/// the order in which they buy most. Throws job_error.
nlohmann::ordered_json explain_plan(const planned& made);

/// Prints what explain_plan returned, loads as multiples of the mean rank load.
void print_explanation(const nlohmann::ordered_json& layers);

}  // namespace ballast
