#pragma once
// The digest by which ranks tell that they have planned the same.

#include <cstdint>

#include "policies/plan.hpp"
#include "policies/request.hpp"

namespace ballast {

/// Of all that the plan depends on, and of the target. Not of `threads`, which change nothing.
std::uint64_t digest_of(const plan_request& request, const planning_tasks& tasks,
                        const placement& target);

}  // namespace ballast
