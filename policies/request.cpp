#include "policies/request.hpp"

#include <algorithm>
#include <array>
#include <limits>
#include <numeric>

namespace ballast {

namespace {

constexpr std::array<const char*, 10> names = {
    "static",          "random",       "flow",   "deepseek", "deepseek-hierarchical",
    "deepseek-global", "deepseek-vec", "trtllm", "swift",    "flash"};
constexpr std::int64_t load_max = std::int64_t{1} << 62;

std::string number(std::int64_t value) { return std::to_string(value); }

/// One window: `where` begins the line that says what is wrong.
std::string why_window_wrong(std::span<const std::int64_t> loads, const placement& current,
                             const std::string& where) {
  const auto experts = static_cast<std::size_t>(current.experts());
  for (int layer = 0; layer < current.layers(); ++layer) {
    std::uint64_t sum = 0;  // at most 2^62 before each addition, so at most 2^63 after it
    for (std::size_t expert = 0; expert < experts; ++expert) {
      const std::int64_t load = loads[layer * experts + expert];
      const char* why = load < 0 ? " is negative" : load > load_max ? " is above 2^62" : nullptr;
      if (why == nullptr) {
        sum += static_cast<std::uint64_t>(load);
        if (sum > static_cast<std::uint64_t>(load_max)) why = " brings the layer's sum above 2^62";
      }
      if (why != nullptr) {
        return where + "layer " + number(layer) + " expert " +
               number(static_cast<std::int64_t>(expert)) + ": " + number(load) + why;
      }
    }
  }
  return {};
}

std::string why_loads_wrong(const plan_request& request) {
  const placement& current = *request.current;
  const auto experts = static_cast<std::size_t>(current.experts());
  const std::size_t cells = experts * static_cast<std::size_t>(current.layers());
  const auto why_size_wrong = [&](const char* field, std::size_t size) {
    return std::string(field) + ": " + number(static_cast<std::int64_t>(size)) + " values for " +
           number(current.layers()) + " layers of " + number(current.experts()) + " experts";
  };
  if (request.loads.size() != cells) return why_size_wrong("loads", request.loads.size());
  if (request.series.size() % cells != 0) return why_size_wrong("series", request.series.size());
  if (request.deviations.size() % cells != 0) {
    return why_size_wrong("deviations", request.deviations.size());
  }
  for (std::size_t i = 0; i < request.deviations.size(); ++i) {
    if (request.deviations[i] >= -load_max && request.deviations[i] <= load_max) continue;
    return "deviations: value " + number(static_cast<std::int64_t>(i)) + ": " +
           number(request.deviations[i]) + " is beyond 2^62";
  }
  std::string why = why_window_wrong(request.loads, current, "loads: ");
  for (std::size_t first = 0; why.empty() && first < request.series.size(); first += cells) {
    why = why_window_wrong(
        request.series.subspan(first, cells), current,
        "series: window " + number(static_cast<std::int64_t>(first / cells)) + " ");
  }
  return why;
}

std::string why_slots_wrong(const plan_request& request, std::vector<std::int32_t>& usable) {
  const slot_layout& layout = request.current->layout();
  usable = request.usable_slots;
  if (usable.empty()) {
    for (int rank = 0; rank < layout.ranks(); ++rank) usable.push_back(layout.count(rank));
  }
  if (static_cast<int>(usable.size()) != layout.ranks()) {
    return "usable_slots: given for " + number(static_cast<std::int64_t>(usable.size())) +
           " ranks, the placement has " + number(layout.ranks());
  }
  for (int rank = 0; rank < layout.ranks(); ++rank) {
    if (usable[rank] < 0 || usable[rank] > layout.count(rank)) {
      return "usable_slots: rank " + number(rank) + ": " + number(usable[rank]) +
             " is not in [0, " + number(layout.count(rank)) + "]";
    }
  }
  if (!request.masked_ranks.empty() && request.masked_ranks.size() != usable.size()) {
    return "masked_ranks: given for " +
           number(static_cast<std::int64_t>(request.masked_ranks.size())) +
           " ranks, the placement has " + number(layout.ranks());
  }
  for (std::size_t rank = 0; rank < request.masked_ranks.size(); ++rank) {
    if (request.masked_ranks[rank] != 0) usable[rank] = 0;
  }
  const std::int64_t total = std::accumulate(usable.begin(), usable.end(), std::int64_t{0});
  if (total < request.current->experts()) {
    return "usable_slots: " + number(total) + " in all are fewer than the " +
           number(request.current->experts()) + " experts";
  }
  return {};
}

/// Slots per layer: their number, and what the current placement has where they leave nothing.
std::string why_layers_wrong(const plan_request& request) {
  const placement& current = *request.current;
  const slot_layout& layout = current.layout();
  if (request.spare_rows < 0) {
    return "spare_rows: " + number(request.spare_rows) + " is negative";
  }
  if (request.slots_per_layer.empty()) return {};
  if (static_cast<int>(request.slots_per_layer.size()) != current.layers()) {
    return "slots_per_layer: given for " +
           number(static_cast<std::int64_t>(request.slots_per_layer.size())) +
           " layers, the placement has " + number(current.layers());
  }
  for (int layer = 0; layer < current.layers(); ++layer) {
    const std::int32_t slots = request.slots_per_layer[layer];
    if (slots < 1) {
      return "slots_per_layer: layer " + number(layer) + ": " + number(slots) + " is less than 1";
    }
    const std::int64_t rows = std::int64_t{slots} + request.spare_rows;
    for (int slot = 0; slot < layout.slots(); ++slot) {
      const int rank = layout.rank_of(slot);
      if (current.experts_of(layer)[slot] == no_expert || slot - layout.first(rank) < rows)
        continue;
      return "current: layer " + number(layer) + " slot " + number(slot) + " holds expert " +
             number(current.experts_of(layer)[slot]) + ", but the layer has " + number(rows) +
             " rows on a rank";
    }
  }
  return {};
}

std::string why_numbers_wrong(const plan_request& request) {
  if (request.groups < 1) return "groups: " + number(request.groups) + " is less than 1";
  if (request.threads < 1) return "threads: " + number(request.threads) + " is less than 1";
  if (request.expert_bytes < 0)
    return "expert_bytes: " + number(request.expert_bytes) + " is negative";
  if (request.limits.max_moves_per_layer < -1) {
    return "max_moves_per_layer: " + number(request.limits.max_moves_per_layer) +
           " is less than -1";
  }
  if (request.limits.max_bytes_per_rank < -1) {
    return "max_bytes_per_rank: " + number(request.limits.max_bytes_per_rank) + " is less than -1";
  }
  if (request.limits.max_moves_total < -1) {
    return "max_moves_total: " + number(request.limits.max_moves_total) + " is less than -1";
  }
  for (std::size_t link = 0; link < request.limits.max_bytes_per_link.size(); ++link) {
    const std::int64_t bytes = request.limits.max_bytes_per_link[link];
    if (bytes < -1) {
      return "max_bytes_per_link: class " + number(static_cast<std::int64_t>(link)) + ": " +
             number(bytes) + " is less than -1";
    }
  }
  return {};
}

std::string why_speeds_wrong(const plan_request& request, speed_scale& speeds) {
  const int ranks = request.current->layout().ranks();
  if (request.rank_speed.empty()) return {};
  if (static_cast<int>(request.rank_speed.size()) != ranks) {
    return "rank_speed: given for " + number(static_cast<std::int64_t>(request.rank_speed.size())) +
           " ranks, the placement has " + number(ranks);
  }
  speeds = {request.rank_speed, 0, 0};
  for (int rank = 0; rank < ranks; ++rank) {
    const std::int32_t speed = request.rank_speed[rank];
    if (speed < 1 || speed > speed_max) {
      return "rank_speed: rank " + number(rank) + ": " + number(speed) + " is not in [1, " +
             number(speed_max) + "]";
    }
    if (!request.masked_ranks.empty() && request.masked_ranks[rank] != 0) continue;
    speeds.sum += speed;
    ++speeds.ranks;
  }
  return {};
}

/// The number of nodes if all have equally many ranks and each has consecutive ones, 0 otherwise.
int even_nodes(const cluster_map& cluster) {
  std::vector<std::int32_t> nodes;
  std::size_t per_node = 0;
  for (std::size_t rank = 0; rank < cluster.ranks.size();) {
    const std::size_t first = rank;
    nodes.push_back(cluster.ranks[rank].node);
    while (rank < cluster.ranks.size() && cluster.ranks[rank].node == nodes.back()) ++rank;
    if (per_node == 0) per_node = rank - first;
    if (rank - first != per_node) return 0;
  }
  std::sort(nodes.begin(), nodes.end());
  const bool distinct = std::adjacent_find(nodes.begin(), nodes.end()) == nodes.end();
  return distinct ? static_cast<int>(nodes.size()) : 0;
}

bool all_equal(const std::vector<std::int32_t>& values) {
  return std::adjacent_find(values.begin(), values.end(), std::not_equal_to<>()) == values.end();
}

/// Why the groups cannot be dealt out to the nodes; `groups_fit` means that they divide over the
/// nodes.
std::string why_not_hierarchical(const plan_request& request, const planning_task& task, int nodes,
                                 bool& groups_fit) {
  groups_fit = false;
  if (nodes == 0) return "cluster: nodes do not have equally many consecutive ranks";
  if (!all_equal(task.usable_slots)) return "usable_slots: not the same on every rank";
  if (request.groups % nodes != 0) {
    return "groups: " + number(request.groups) + " do not divide over " + number(nodes) + " nodes";
  }
  groups_fit = true;
  if (request.current->experts() % request.groups != 0) {
    return "groups: " + number(request.current->experts()) + " experts do not divide into " +
           number(request.groups) + " groups";
  }
  return {};
}

/// What the policies that plan from nothing have in common.
std::string why_not_afresh(const plan_request& request, planning_task& task) {
  task.shape.experts = request.current->experts();
  task.shape.capacity = task.usable_slots;
  task.shape.compatible = request.compatible;
  const slot_layout& layout = request.current->layout();
  if (!request.compatible) return {};
  if (!layout.is_uniform()) return "compatible: needs the same number of slots on every rank";
  for (int rank = 0; rank < layout.ranks(); ++rank) {
    if (task.usable_slots[rank] != 0 && task.usable_slots[rank] != layout.count(rank)) {
      return "compatible: needs all slots of a rank usable or none, rank " + number(rank) +
             " has " + number(task.usable_slots[rank]) + " of " + number(layout.count(rank));
    }
  }
  return {};
}

/// `deepseek` and `deepseek-vec` are hierarchical when the groups divide over the nodes, and global
/// otherwise; then the groups do not matter. Ranks without usable slots make them global.
std::string why_not_deepseek(const plan_request& request, planning_task& task) {
  const int nodes = even_nodes(*request.cluster);
  bool groups_fit = false;
  const std::string why = why_not_hierarchical(request, task, nodes, groups_fit);
  const bool must = request.policy == "deepseek-hierarchical";
  if (!why.empty()) return !must && !groups_fit ? std::string() : why;
  task.shape.groups = request.groups;
  task.shape.nodes = nodes;
  return {};
}

/// `flow` keeps groups on nodes where they divide over them and fit there; otherwise they do not
/// matter.
group_shape homes_of(const plan_request& request, std::span<const std::int32_t> usable) {
  const int nodes = even_nodes(*request.cluster);
  const int experts = request.current->experts();
  if (nodes < 2 || request.groups % nodes != 0 || experts % request.groups != 0) return {};
  const auto per_node = static_cast<std::ptrdiff_t>(usable.size()) / nodes;
  for (int node = 0; node < nodes; ++node) {
    const auto first = usable.begin() + node * per_node;
    if (std::accumulate(first, first + per_node, std::int64_t{0}) < experts / nodes) return {};
  }
  return {request.groups, nodes};
}

std::string why_objective_wrong(const plan_request& request) {
  if (request.passes < 0) return "passes: " + number(request.passes) + " is negative";
  if (request.objective != plan_objective::activations) return {};
  if (request.plugin != nullptr) return "objective: a plug-in has its own";
  if (request.equal_shares) return "equal_shares: activations are not split";
  if (!request.rank_speed.empty()) return "rank_speed: not for the objective activations";
  return {};
}

/// Chooses the kind, and what it needs.
std::string why_not_policy(const plan_request& request, planning_task& task) {
  const std::string& name = request.policy;
  if (request.plugin != nullptr) {
    task.kind = policy_kind::plugin;
    return {};
  }
  if (name == "static") return {};
  if (name == "random") {
    task.kind = policy_kind::random;
    return has_masked_ranks(request) ? "masked_ranks: random swaps on all ranks" : "";
  }
  if (name == "flow") {
    task.kind = policy_kind::flow;
    task.homes = homes_of(request, task.usable_slots);
    return request.compatible ? "compatible: flow has no published rules" : "";
  }
  if (name == "swift") {
    task.kind = policy_kind::swift;
    return {};
  }
  if (name == "flash") {
    task.kind = policy_kind::flash;
    return request.compatible ? "compatible: flash plans in integers, the published rules do not"
                              : "";
  }
  task.kind = name == "trtllm"         ? policy_kind::trtllm
              : name == "deepseek-vec" ? policy_kind::deepseek_vec
                                       : policy_kind::deepseek;
  std::string why = why_not_afresh(request, task);
  if (!why.empty() || name == "trtllm" || name == "deepseek-global") return why;
  return why_not_deepseek(request, task);
}

/// A task for every number of slots that layers have.
std::string why_not_tasks(const plan_request& request, const speed_scale& speeds,
                          planning_tasks& tasks) {
  const int layers = request.current->layers();
  const std::int32_t all = std::numeric_limits<std::int32_t>::max();
  std::vector<std::int32_t> kinds(request.slots_per_layer);
  if (kinds.empty()) kinds.push_back(all);
  std::ranges::sort(kinds);
  kinds.erase(std::unique(kinds.begin(), kinds.end()), kinds.end());
  for (const std::int32_t slots : kinds) {
    planning_task& task = tasks.kinds.emplace_back();
    task.usable_slots = tasks.usable_slots;
    for (std::int32_t& usable : task.usable_slots) usable = std::min(usable, slots);
    task.rows = slots > all - request.spare_rows ? all : slots + request.spare_rows;
    task.speeds = speeds;
    const std::int64_t total =
        std::accumulate(task.usable_slots.begin(), task.usable_slots.end(), std::int64_t{0});
    if (total < request.current->experts()) {
      return "slots_per_layer: " + number(slots) + " slots of a rank are " + number(total) +
             " in all, fewer than the " + number(request.current->experts()) + " experts";
    }
    if (std::string why = why_not_policy(request, task); !why.empty()) return why;
  }
  for (int layer = 0; layer < layers; ++layer) {
    const std::int32_t slots =
        request.slots_per_layer.empty() ? all : request.slots_per_layer[layer];
    tasks.kind_of_layer.push_back(
        static_cast<std::int32_t>(std::ranges::lower_bound(kinds, slots) - kinds.begin()));
  }
  return {};
}

}  // namespace

std::span<const char* const> policy_names() { return names; }

interpreted_request interpret(const plan_request& request) {
  const auto wrong = [](std::string why) { return interpreted_request{std::move(why), {}}; };
  if (request.current == nullptr) return wrong("current: no placement given");
  if (request.cluster == nullptr) return wrong("cluster: no map given");
  const placement& current = *request.current;
  if (current.layers() < 1)
    return wrong("current: layers " + number(current.layers()) + " is less than 1");
  if (request.cluster->ranks.size() != static_cast<std::size_t>(current.layout().ranks())) {
    return wrong("cluster: " + number(static_cast<std::int64_t>(request.cluster->ranks.size())) +
                 " ranks, the placement has " + number(current.layout().ranks()));
  }
  if (request.plugin == nullptr &&
      std::find(names.begin(), names.end(), request.policy) == names.end()) {
    return wrong("policy: " + request.policy + " is unknown");
  }
  interpreted_request result;
  planning_tasks& tasks = result.tasks;
  speed_scale speeds;
  result.why_not = why_numbers_wrong(request);
  if (result.why_not.empty()) result.why_not = why_objective_wrong(request);
  if (result.why_not.empty()) result.why_not = why_loads_wrong(request);
  if (result.why_not.empty()) result.why_not = why_slots_wrong(request, tasks.usable_slots);
  if (result.why_not.empty()) result.why_not = why_layers_wrong(request);
  if (result.why_not.empty()) result.why_not = why_speeds_wrong(request, speeds);
  if (result.why_not.empty()) {
    const std::string why = why_illegal(current, true);
    if (!why.empty()) result.why_not = "current: " + why;
  }
  if (result.why_not.empty()) result.why_not = why_not_tasks(request, speeds, tasks);
  return result;
}

std::int32_t living_ranks(const plan_request& request) {
  const auto dead =
      std::ranges::count_if(request.masked_ranks, [](auto mask) { return mask != 0; });
  return request.current->layout().ranks() - static_cast<std::int32_t>(dead);
}

bool has_masked_ranks(const plan_request& request) {
  return living_ranks(request) < request.current->layout().ranks();
}

std::string why_unplannable(const plan_request& request) { return interpret(request).why_not; }

}  // namespace ballast
