#include "policies/redundancy.hpp"

#include <algorithm>
#include <stdexcept>
#include <string>

#include "policies/balance.hpp"

namespace ballast {

namespace {

std::string number(std::int64_t value) { return std::to_string(value); }

void check(const redundancy_budget& budget, std::int64_t least) {
  const auto refuse = [](const std::string& why) { throw std::invalid_argument(why); };
  if (budget.layers < 1) refuse("layers " + number(budget.layers) + " is less than 1");
  if (budget.experts < 1) refuse("experts " + number(budget.experts) + " is less than 1");
  if (budget.ranks < 1) refuse("ranks " + number(budget.ranks) + " is less than 1");
  if (budget.loads.size() !=
      static_cast<std::size_t>(budget.layers) * static_cast<std::size_t>(budget.experts)) {
    refuse("loads: " + number(static_cast<std::int64_t>(budget.loads.size())) + " values for " +
           number(budget.layers) + " layers of " + number(budget.experts) + " experts");
  }
  if (budget.slots_per_rank < least * budget.layers) {
    refuse("slots_per_rank " + number(budget.slots_per_rank) +
           " of all layers are fewer than the " + number(least * budget.layers) +
           " that one replica of every expert takes");
  }
}

/// What a layer's fullest rank carries at least, by slots per rank beyond the fewest possible;
/// ends where more do not help.
std::vector<scaled_load> fullest_by_extra(std::span<const std::int64_t> loads, int ranks,
                                          std::int32_t fewest, std::int64_t most_extra) {
  scaled_load total = 0;
  for (const std::int64_t load : loads) total += static_cast<scaled_load>(load) * share_one;
  const scaled_load mean = (total + ranks - 1) / ranks;
  // A rank holds an expert once.
  const auto most =
      std::min<std::int64_t>(most_extra, static_cast<std::int64_t>(loads.size()) - fewest);
  std::vector<scaled_load> fullest;
  for (std::int64_t extra = 0; extra <= most; ++extra) {
    const int slots = fewest + static_cast<int>(extra);
    const scaled_load bound = bound_with_equal_shares(loads, {ranks, slots, false});
    fullest.push_back(fullest.empty() ? bound : std::min(fullest.back(), bound));
    if (fullest.back() <= mean) break;
  }
  while (fullest.size() > 1 && fullest[fullest.size() - 2] == fullest.back()) fullest.pop_back();
  return fullest;
}

}  // namespace

std::vector<std::int32_t> choose_slots(const redundancy_budget& budget) {
  const std::int32_t fewest =
      budget.ranks > 0 ? (budget.experts + budget.ranks - 1) / budget.ranks : 0;
  check(budget, fewest);
  const std::int64_t extra =
      budget.slots_per_rank - static_cast<std::int64_t>(fewest) * budget.layers;
  std::vector<std::vector<scaled_load>> layers;
  std::int64_t useful = 0;
  for (int layer = 0; layer < budget.layers; ++layer) {
    const auto experts = static_cast<std::size_t>(budget.experts);
    layers.push_back(fullest_by_extra(budget.loads.subspan(layer * experts, experts), budget.ranks,
                                      fewest, extra));
    useful += static_cast<std::int64_t>(layers.back().size()) - 1;
  }
  // A knapsack, last layer first: least[spent] of the layers from here on, and what this layer
  // takes of it.
  const auto purse = static_cast<std::size_t>(std::min(extra, useful));
  std::vector<scaled_load> least(purse + 1, 0);
  std::vector<scaled_load> with_layer(purse + 1);
  std::vector<std::vector<std::int32_t>> taken(layers.size(),
                                               std::vector<std::int32_t>(purse + 1, 0));
  for (std::size_t layer = layers.size(); layer-- > 0;) {
    for (std::size_t spent = 0; spent <= purse; ++spent) {
      with_layer[spent] = layers[layer][0] + least[spent];
      for (std::size_t more = 1; more < layers[layer].size() && more <= spent; ++more) {
        const scaled_load sum = layers[layer][more] + least[spent - more];
        if (sum >= with_layer[spent]) continue;
        with_layer[spent] = sum;
        taken[layer][spent] = static_cast<std::int32_t>(more);
      }
    }
    least.swap(with_layer);
  }
  std::size_t left = 0;  // the fewest that reach the least
  while (least[left] != least[purse]) ++left;
  std::vector<std::int32_t> slots;
  for (std::size_t layer = 0; layer < layers.size(); ++layer) {
    slots.push_back(fewest + taken[layer][left]);
    left -= static_cast<std::size_t>(taken[layer][left]);
  }
  return slots;
}

}  // namespace ballast
