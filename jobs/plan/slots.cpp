#include "jobs/plan/slots.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "jobs/exit_code.hpp"
#include "jobs/plan/text_table.hpp"

namespace ballast {

chosen_slots choose_slots(const ballast_plan_request& request, std::int64_t budget) {
  const auto layers = static_cast<std::size_t>(std::max(request.layers, 0));
  chosen_slots chosen;
  chosen.budget = budget;
  chosen.slots.resize(layers);
  chosen.balance_fewest.resize(layers);
  chosen.balance.resize(layers);
  chosen.summary.struct_size = sizeof(chosen.summary);
  check(ballast_slots_choose(&request, budget, chosen.slots.data(), chosen.balance_fewest.data(),
                             chosen.balance.data(), &chosen.summary));
  return chosen;
}

std::int32_t most_slots(const std::vector<std::int32_t>& slots) {
  return *std::ranges::max_element(slots);
}

std::string slots_text(const std::vector<std::int32_t>& slots, std::int32_t slots_per_rank) {
  if (slots.empty()) return std::to_string(slots_per_rank);
  const auto [least, most] = std::ranges::minmax(slots);
  return least == most ? std::to_string(most) : fmt::format("{}-{}", least, most);
}

void print_slots(const chosen_slots& chosen) {
  if (chosen.budget == 0) return;
  text_table table(
      {{"layer", ""}, {"slots", "a rank"}, {"fewest", "balance"}, {"chosen", "balance"}});
  for (std::size_t layer = 0; layer < chosen.slots.size(); ++layer) {
    table.add({std::to_string(layer), std::to_string(chosen.slots[layer]),
               fmt::format("{:.4f}", chosen.balance_fewest[layer]),
               fmt::format("{:.4f}", chosen.balance[layer])});
  }
  const ballast_slots_summary& s = chosen.summary;
  fmt::print(
      "{} of {} slots a rank in all layers: from nothing balance {:.4f}, with the fewest ({}) "
      "{:.4f}\n{}",
      s.slots, chosen.budget, s.balance, s.slots_fewest, s.balance_fewest, table.text());
}

nlohmann::ordered_json slots_to_json(const chosen_slots& chosen) {
  const ballast_slots_summary& s = chosen.summary;
  nlohmann::ordered_json json = {{"budget", chosen.budget},
                                 {"slots", s.slots},
                                 {"slots_fewest", s.slots_fewest},
                                 {"balance", s.balance},
                                 {"balance_fewest", s.balance_fewest},
                                 {"per_layer", nlohmann::ordered_json::array()}};
  for (std::size_t layer = 0; layer < chosen.slots.size(); ++layer) {
    json["per_layer"].push_back({{"slots", chosen.slots[layer]},
                                 {"balance", chosen.balance[layer]},
                                 {"balance_fewest", chosen.balance_fewest[layer]}});
  }
  return json;
}

std::int64_t experts_for(const char* option, std::int64_t bytes, std::int64_t expert_bytes) {
  if (expert_bytes > 0) return bytes / expert_bytes;
  throw job_error(exit_code::usage,
                  fmt::format("{} needs --expert-bytes N or --model KEY", option));
}

}  // namespace ballast
