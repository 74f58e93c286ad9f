#pragma once
// `ballast plan --slots-budget`: from a memory budget to the slots of each layer.

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "runtime/ballast.h"

namespace ballast {

struct chosen_slots {
  std::int64_t budget = 0;             ///< of a rank in all layers; 0: none was given
  std::vector<std::int32_t> slots;     ///< [layers], empty: every layer has the same
  std::vector<double> balance_fewest;  ///< [layers] that plans from nothing reach
  std::vector<double> balance;         ///< [layers] and with the chosen slots
  ballast_slots_summary summary = {};
};

/// Of the request only what ballast_slots_choose looks at. Throws job_error.
chosen_slots choose_slots(const ballast_plan_request& request, std::int64_t budget);

std::int32_t most_slots(const std::vector<std::int32_t>& slots);

/// "9", or "7-9" where layers differ.
std::string slots_text(const std::vector<std::int32_t>& slots, std::int32_t slots_per_rank);

/// Nothing where no budget was given.
void print_slots(const chosen_slots& chosen);
nlohmann::ordered_json slots_to_json(const chosen_slots& chosen);

/// The experts that a budget in bytes pays for. Throws job_error(usage) naming `option` where an
/// expert's size is not known, 0.
std::int64_t experts_for(const char* option, std::int64_t bytes, std::int64_t expert_bytes);

}  // namespace ballast
