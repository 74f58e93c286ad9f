#pragma once
// Redundant slots where they help most: from a memory budget over all layers to a number of slots
// for each layer.

#include <cstdint>
#include <vector>

#include "policies/plan.hpp"

namespace ballast {

struct redundancy_question {
  const plan_request& request;  ///< what is to be planned with the slots: loads, cluster, policy
                                ///< and so on. Not looked at: the current placement but for layers,
                                ///< experts and ranks, slots, limits
  std::int64_t slots_per_rank = 0;  ///< of all layers together
};

struct slot_choice {
  std::vector<std::int32_t> slots;    ///< [layers] per rank
  std::vector<layer_outcome> fewest;  ///< [layers] with as few slots as can host every expert
  std::vector<layer_outcome> chosen;  ///< [layers] with those
  std::int32_t fewest_slots = 1;      ///< per rank, of every layer
  std::int32_t living_ranks = 1;

  /// Sum of mean rank loads over sum of max rank loads.
  double balance(const std::vector<layer_outcome>& layers) const;
};

/// Plans every layer from nothing with the fewest slots per rank that host every expert, with one
/// more, and so on, for as long as more help it, and takes of these the numbers of slots whose sum
/// is within the budget and whose fullest ranks sum to the least, exactly; of several such choices
/// the one with fewest slots, and then with fewest in the lowest layers. So slots that no plan made
/// use of stay unspent.
///
/// Throws std::invalid_argument, naming the field, for what decide() would refuse, or if the budget
/// is less than one replica of every expert takes.
slot_choice choose_slots(const redundancy_question& question);

}  // namespace ballast
