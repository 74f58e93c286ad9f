// What a decided plan is worth: totals and bounds of its layers, and the sums over layers.

#include <algorithm>
#include <functional>
#include <optional>
#include <stdexcept>

#include "policies/activations.hpp"
#include "policies/balance.hpp"
#include "policies/flow_groups.hpp"
#include "policies/limits.hpp"
#include "policies/parallel.hpp"
#include "policies/plan.hpp"
#include "policies/request.hpp"

namespace ballast {

namespace {

std::span<const std::int64_t> loads_of(const plan_request& request, int layer) {
  const auto experts = static_cast<std::size_t>(request.current->experts());
  return request.loads.subspan(layer * experts, experts);
}

/// The slots that any placement of a layer that the policy may choose, the current one among them,
/// occupies.
struct slot_use {
  int hosts = 0;  // ranks with such slots
  std::int64_t slots = 0;
  bool uniform = true;                // equally many on every rank
  bool filled = true;                 // every one of them is occupied, whatever is chosen
  std::vector<std::int32_t> speeds;   // of the hosts, fastest first; empty: all the same
  std::vector<std::int32_t> of_rank;  // [ranks] how many slots
};

slot_use slot_use_of(const plan_request& request, const planning_task& task, int layer) {
  const slot_layout& layout = request.current->layout();
  const auto experts = request.current->experts_of(layer);
  slot_use use;
  std::int32_t per_rank = -1;
  for (int rank = 0; rank < layout.ranks(); ++rank) {
    const auto held = experts.subspan(layout.first(rank), layout.count(rank));
    const auto occupied =
        static_cast<std::int32_t>(held.size()) -
        static_cast<std::int32_t>(std::count(held.begin(), held.end(), no_expert));
    const bool dead = !request.masked_ranks.empty() && request.masked_ranks[rank] != 0;
    const std::int32_t slots = dead ? 0 : std::max(occupied, task.usable_slots[rank]);
    use.of_rank.push_back(slots);
    use.hosts += slots > 0 ? 1 : 0;
    if (slots > 0 && task.speeds.uneven()) use.speeds.push_back(request.rank_speed[rank]);
    use.slots += slots;
    use.uniform = use.uniform && (per_rank < 0 || slots == per_rank);
    use.filled = use.filled && occupied == task.usable_slots[rank] &&
                 (request.compatible || slots <= request.current->experts());
    per_rank = slots;
  }
  std::sort(use.speeds.begin(), use.speeds.end(), std::greater<>());
  return use;
}

bool shares_are_equal(const placement& current, int layer, std::vector<std::int32_t>& equal) {
  equal.resize(static_cast<std::size_t>(current.slots()));
  set_equal_shares(current.experts_of(layer), current.experts(), equal);
  return std::ranges::equal(equal, current.shares_of(layer));
}

/// Whether the policy may choose only placements that have every group on one node. One that has
/// not may stay where moves are limited, or serve activations as well.
bool keeps_groups(const plan_request& request, const planning_task& task, const plan& decided,
                  const group_shape& shape, int layer) {
  const placement& current = *request.current;
  group_homes homes(current.experts(), shape, task.usable_slots, task.speeds);
  const auto local = [&](const placement& place) {
    homes.read(place.layout(), place.experts_of(layer));
    return homes.local(place.layout(), place.experts_of(layer));
  };
  const bool may_stay =
      is_limited(request.limits) || request.objective == plan_objective::activations;
  return local(decided.target) && (!may_stay || local(current));
}

grouped_hosts hosts_of_groups(const group_shape& shape, const slot_use& use,
                              const speed_scale& speeds) {
  grouped_hosts hosts{shape.groups, shape.nodes, {0, 0, {}}, {}};
  const auto per_node = static_cast<int>(use.of_rank.size()) / shape.nodes;
  for (int node = 0; node < shape.nodes; ++node) {
    const host_set own = hosts_among(use.of_rank, speeds, node * per_node, (node + 1) * per_node);
    hosts.node.ranks = std::max(hosts.node.ranks, own.ranks);
    hosts.node.slots = std::max(hosts.node.slots, own.slots);
    hosts.node.speeds.resize(std::max(hosts.node.speeds.size(), own.speeds.size()));
    for (std::size_t i = 0; i < own.speeds.size(); ++i)
      hosts.node.speeds[i] = std::max(hosts.node.speeds[i], own.speeds[i]);
  }
  return hosts;
}

/// See layer_outcome::bound. Equal shares have the higher bound, so it holds for what the policies
/// choose only if what they may keep has equal shares too; `flow` has only if told.
scaled_load bound_of(const plan_request& request, const planning_task& task, const plan& decided,
                     int layer, std::vector<std::int32_t>& scratch) {
  const slot_use use = slot_use_of(request, task, layer);
  const auto loads = loads_of(request, layer);
  const bool free = task.kind == policy_kind::flow || task.kind == policy_kind::plugin ||
                    request.objective == plan_objective::activations;
  const bool equal = !free || request.equal_shares;
  std::optional<bound_shape> shape;
  if (equal && use.uniform && !task.speeds.uneven() &&
      shares_are_equal(*request.current, layer, scratch)) {
    shape = {use.hosts, static_cast<int>(use.slots / use.hosts), use.filled};
  }
  host_set hosts{use.hosts, use.slots, {}};
  if (task.speeds.uneven()) hosts.speeds = use.speeds;
  const scaled_load bound = shape ? bound_with_equal_shares(loads, *shape)
                                  : bound_with_free_shares(loads, hosts, task.speeds);
  const group_shape groups = task.kind == policy_kind::flow
                                 ? task.homes
                                 : group_shape{task.shape.groups, task.shape.nodes};
  if (groups.nodes < 2 || !keeps_groups(request, task, decided, groups, layer)) return bound;
  grouped_hosts nodes = hosts_of_groups(groups, use, task.speeds);
  if (shape) {
    const bool alike = nodes.node.ranks * groups.nodes == use.hosts;
    const bool room =
        request.compatible || shape->slots_per_rank * groups.nodes <= request.current->experts();
    nodes.equal = {nodes.node.ranks, shape->slots_per_rank, use.filled && alike && room};
  }
  return std::max(bound, bound_with_groups(loads, nodes, task.speeds));
}

/// Sum of mean rank loads over the sum of what `field` says is the fullest rank's; 1 when idle.
double balance_of(const plan& planned, scaled_load layer_outcome::*field) {
  double total = 0;
  double fullest = 0;
  for (const layer_outcome& outcome : planned.layers) {
    total += static_cast<double>(outcome.total);
    fullest += static_cast<double>(outcome.*field);
  }
  return fullest > 0 ? total / planned.living_ranks / fullest : 1.0;
}

}  // namespace

void report(const plan_request& request, plan& decided) {
  const interpreted_request interpreted = interpret(request);
  if (!interpreted.why_not.empty()) throw std::invalid_argument(interpreted.why_not);
  const bool whole = request.objective == plan_objective::activations;
  std::vector<std::int64_t> activations;
  plan_request asked = request;
  if (whole) asked.loads = activations = activations_of(request);
  for_layers(decided.target.layers(), request.threads, [&](int first, int last) {
    std::vector<std::int32_t> scratch;
    for (int layer = first; layer < last; ++layer) {
      layer_outcome& outcome = decided.layers[layer];
      outcome.total = 0;
      std::int64_t largest = 0;
      for (const std::int64_t load : loads_of(asked, layer)) {
        outcome.total += static_cast<scaled_load>(load) * share_one;
        largest = std::max(largest, load);
      }
      outcome.bound = bound_of(asked, interpreted.tasks.of(layer), decided, layer, scratch);
      // An expert is read by one rank at least, as a whole.
      if (whole) outcome.bound = std::max(outcome.bound, scaled_load{largest} * share_one);
    }
  });
}

plan make_plan(const plan_request& request) {
  plan decided = decide(request);
  report(request, decided);
  return decided;
}

std::int64_t plan::moves() const {
  std::int64_t sum = 0;
  for (const layer_outcome& outcome : layers) sum += outcome.moves;
  return sum;
}

double plan::balance_before() const { return balance_of(*this, &layer_outcome::max_before); }
double plan::balance_after() const { return balance_of(*this, &layer_outcome::max_after); }
double plan::balance_bound() const { return balance_of(*this, &layer_outcome::bound); }

double plan::gap() const {
  double after = 0;
  double bound = 0;
  for (const layer_outcome& outcome : layers) {
    after += static_cast<double>(outcome.max_after);
    bound += static_cast<double>(outcome.bound);
  }
  return bound > 0 ? after / bound - 1.0 : 0.0;
}

}  // namespace ballast
