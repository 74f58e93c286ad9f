#pragma once
// The shares that make the fullest rank of a given placement as light as it can be: a flow from
// experts to ranks whose smallest feasible maximum is found by Newton steps on the minimum cut.

#include <cstdint>
#include <span>
#include <vector>

#include "policies/flow_state.hpp"
#include "policies/placement.hpp"

namespace ballast {

/// Works on one layer after another and keeps its scratch memory between them.
class share_solver {
 public:
  /// Shifts flow until the fullest rank is the lightest possible, exactly (in units of the state).
  /// Fast when the state is settled.
  void minimise_fullest(flow_state& state);

  /// Turns flows into shares, [slots]: sums are exact, and what rounding leaves over goes to the
  /// replicas whose ranks have most room. Experts without load get equal shares.
  void round(const flow_state& state, std::span<const std::int64_t> loads,
             std::span<std::int32_t> share_of_slot);

 private:
  struct step {
    std::int32_t rank;
    std::int32_t parent;  // index of the step before
    std::int32_t from_slot;
    std::int32_t to_slot;
    std::int64_t load;  // of the rank
  };

  std::int32_t search(const flow_state& state, int start, std::int64_t limit);
  std::int64_t average_reached(const flow_state& state) const;
  void push(flow_state& state, std::int32_t last, std::int64_t limit);

  std::vector<step> steps_;
  std::vector<std::uint32_t> seen_rank_;
  std::uint32_t search_number_ = 0;
  std::vector<std::int32_t> order_;
};

}  // namespace ballast
