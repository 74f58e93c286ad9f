#pragma once
// One plan of `ballast plan`: the request it answers, and what the library says of it.

#include <cstdint>
#include <memory>
#include <vector>

#include "jobs/plan/inputs.hpp"
#include "jobs/plan/options.hpp"
#include "jobs/plan/slots.hpp"
#include "runtime/ballast.h"

namespace ballast {

struct planned {
  chosen_slots slots;  ///< for a budget of slots, or (those alone) of --current
  std::vector<std::int32_t> widened_experts;  ///< --current in a shape with more slots, or empty
  std::vector<std::int32_t> widened_shares;
  std::unique_ptr<ballast_topology, decltype(&ballast_topology_destroy)> topology{
      nullptr, ballast_topology_destroy};
  ballast_plan_request request;
  std::unique_ptr<ballast_plan, decltype(&ballast_plan_destroy)> plan{nullptr,
                                                                      ballast_plan_destroy};
  ballast_plan_summary summary;
};

/// Plans twice: the first run touches everything once, the second is the one that is timed.
/// `inputs` and `choice` must outlive the result. Where the choice has more slots per rank than the
/// placement of
/// --current, the added slots are empty. Throws job_error or std::invalid_argument naming the
/// option, field or file.
planned make_plan(const plan_options& options, const plan_inputs& inputs,
                  const plan_choice& choice);

}  // namespace ballast
