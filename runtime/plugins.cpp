#include "runtime/plugins.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <mutex>
#include <stdexcept>
#include <vector>

#include "policies/plan.hpp"
#include "runtime/error.hpp"
#include "runtime/guard.hpp"

namespace ballast {
namespace {

constexpr std::size_t name_max = 63;

struct registry {
  std::mutex mutex;
  std::vector<std::unique_ptr<const registered_policy>> policies;
};

registry& the_registry() {
  static registry* const one = new registry;  // never destroyed: a planner thread may outlive main
  return *one;
}

bool is_name(std::string_view name) {
  return !name.empty() && name.size() <= name_max && std::ranges::all_of(name, [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
  });
}

/// The arrays of one call, and where the answer goes.
struct call {
  ballast_policy_question question = {};
  std::vector<std::int32_t> slot_first;
  std::vector<std::int32_t> nodes;
  std::vector<std::int32_t> islands;
  std::vector<const std::int64_t*> series;
  std::vector<std::int32_t> experts_now, shares_now;
  std::vector<std::int32_t> experts, shares;
};

call describe(const plan_request& request, std::span<const std::int32_t> usable_slots) {
  const placement& current = *request.current;
  const slot_layout& layout = current.layout();
  call made;
  for (int rank = 0; rank <= layout.ranks(); ++rank) made.slot_first.push_back(layout.first(rank));
  for (const rank_place& place : request.cluster->ranks) {
    made.nodes.push_back(place.node);
    made.islands.push_back(place.island);
  }
  ballast_policy_question& q = made.question;
  q.struct_size = sizeof(q);
  q.experts = current.experts();
  q.ranks = layout.ranks();
  q.slots = layout.slots();
  q.slot_first = made.slot_first.data();
  q.usable_slots = usable_slots.data();
  q.node_of_rank = made.nodes.data();
  q.island_of_rank = made.islands.data();
  q.max_moves = request.limits.max_moves_per_layer;
  q.max_bytes = request.limits.max_bytes_per_rank;
  q.expert_bytes = request.expert_bytes;
  q.groups = request.groups;
  q.seed = request.seed;
  return made;
}

/// Narrows the question to some layers, whose loads lie together in every window.
void choose_layers(call& made, const plan_request& request, int first, int count) {
  const placement& current = *request.current;
  const auto experts = static_cast<std::size_t>(current.experts());
  const std::size_t cells = experts * static_cast<std::size_t>(current.layers());
  made.series.clear();
  for (std::size_t window = 0; window < request.series.size(); window += cells) {
    made.series.push_back(request.series.data() + window + first * experts);
  }
  made.experts_now.clear();
  made.shares_now.clear();
  for (int layer = first; layer < first + count; ++layer) {
    const auto held = current.experts_of(layer);
    const auto shares = current.shares_of(layer);
    made.experts_now.insert(made.experts_now.end(), held.begin(), held.end());
    made.shares_now.insert(made.shares_now.end(), shares.begin(), shares.end());
  }
  made.experts = made.experts_now;
  made.shares = made.shares_now;
  ballast_policy_question& q = made.question;
  q.first_layer = first;
  q.layers = count;
  q.windows = static_cast<std::int32_t>(made.series.size());
  q.loads = request.loads.data() + first * experts;
  q.slots_per_layer =
      request.slots_per_layer.empty() ? nullptr : request.slots_per_layer.data() + first;
  q.series = made.series.empty() ? nullptr : made.series.data();
  q.experts_now = made.experts_now.data();
  q.shares_now = made.shares_now.data();
}

}  // namespace

registered_policy::registered_policy(const ballast_policy& policy) : policy_(policy) {
  require_argument(policy.name, "name");
  name_ = policy.name;
  policy_.name = nullptr;
  if (!is_name(name_)) {
    throw error(
        BALLAST_ERROR_INVALID_ARGUMENT,
        fmt::format("name is \"{}\", expected 1 to {} of a-z, 0-9, '-' and '_'", name_, name_max));
  }
  if ((policy.plan_layer == nullptr) == (policy.plan_request == nullptr)) {
    throw error(BALLAST_ERROR_INVALID_ARGUMENT,
                fmt::format("policy {}: {} of plan_layer and plan_request given, expected one",
                            name_, policy.plan_layer == nullptr ? "none" : "both"));
  }
}

void registered_policy::plan(const plan_request& request,
                             std::span<const std::int32_t> usable_slots, placement& target) const {
  const bool by_layer = policy_.plan_layer != nullptr;
  const ballast_policy_function function = by_layer ? policy_.plan_layer : policy_.plan_request;
  const int step = by_layer ? 1 : target.layers();
  const auto slots = static_cast<std::size_t>(target.slots());
  call made = describe(request, usable_slots);
  for (int first = 0; first < target.layers(); first += step) {
    choose_layers(made, request, first, step);
    const std::int32_t answer =
        function(policy_.user, &made.question, made.experts.data(), made.shares.data());
    if (answer != BALLAST_POLICY_DONE && answer != BALLAST_POLICY_EQUAL_SHARES) {
      throw std::invalid_argument(
          fmt::format("policy {}: layer {}: it returned {}", name_, first, answer));
    }
    for (int layer = first; layer < first + step; ++layer) {
      const std::size_t at = static_cast<std::size_t>(layer - first) * slots;
      const auto experts = std::span(made.experts).subspan(at, slots);
      std::ranges::copy(experts, target.experts_of(layer).begin());
      std::ranges::copy(std::span(made.shares).subspan(at, slots), target.shares_of(layer).begin());
      // Ids out of range are left to the check of the whole.
      if (answer == BALLAST_POLICY_EQUAL_SHARES && std::ranges::all_of(experts, [&](auto expert) {
            return expert >= no_expert && expert < target.experts();
          })) {
        set_equal_shares(experts, target.experts(), target.shares_of(layer));
      }
    }
  }
}

void register_policy(const ballast_policy& policy) {
  auto made = std::make_unique<const registered_policy>(policy);
  registry& all = the_registry();
  const std::lock_guard lock(all.mutex);
  const auto is_taken = [&](std::string_view name) { return name == made->name(); };
  if (std::ranges::any_of(policy_names(), is_taken) ||
      std::ranges::any_of(all.policies, [&](const auto& p) { return is_taken(p->name()); })) {
    throw error(BALLAST_ERROR_INVALID_ARGUMENT,
                fmt::format("name is \"{}\", which another policy has", made->name()));
  }
  all.policies.push_back(std::move(made));
}

const registered_policy* find_registered_policy(std::string_view name) {
  registry& all = the_registry();
  const std::lock_guard lock(all.mutex);
  const auto found =
      std::ranges::find_if(all.policies, [&](const auto& p) { return p->name() == name; });
  return found == all.policies.end() ? nullptr : found->get();
}

const registered_policy* registered_policy_at(std::size_t index) {
  registry& all = the_registry();
  const std::lock_guard lock(all.mutex);
  return index < all.policies.size() ? all.policies[index].get() : nullptr;
}

}  // namespace ballast
