#pragma once
// What `ballast plan` says of one plan, as text and as JSON, and the placement it writes.

#include <nlohmann/json_fwd.hpp>

#include "jobs/plan/planned.hpp"

namespace ballast {

/// Nothing without --series. What window the plan is made for.
void print_series(const plan_options& options, const plan_inputs& inputs);

/// Adds "series" to a document with --series.
void add_series(const plan_options& options, const plan_inputs& inputs,
                nlohmann::ordered_json& document);

void print_plan(const planned& made);

/// What the plan saves and what its moves cost, as ballast_plan_summary has it.
nlohmann::ordered_json payback_to_json(const ballast_plan_summary& summary);

/// ballast.plan/1
nlohmann::ordered_json plan_to_json(const planned& made);

/// Nothing without --out. Throws job_error naming the file.
void save_placement(const planned& made, const plan_options& options);

}  // namespace ballast
