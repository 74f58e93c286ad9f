#include "runtime/plan_question.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "runtime/discovery.hpp"
#include "runtime/error.hpp"
#include "runtime/given_placement.hpp"
#include "runtime/guard.hpp"
#include "runtime/plugins.hpp"

namespace ballast {

namespace {

/// A limit in bytes does not bind as long as nobody knows what an expert weighs.
void require_priced(const char* field, std::int64_t limit, std::int64_t expert_bytes) {
  if (limit < 0 || expert_bytes > 0) return;
  throw error(BALLAST_ERROR_INVALID_ARGUMENT,
              fmt::format("{} is {}, but expert_bytes is 0", field, limit));
}

void check_shape(const ballast_plan_request& r) {
  require_in_range("layers", r.layers, 1, 4096);
  require_in_range("experts", r.experts, 1, 65536);
  require_in_range("ranks", r.ranks, 1, 16384);
  require_in_range("slots_per_rank", r.slots_per_rank, 1, 1024);
  require_in_range("groups", r.groups, 1, r.experts);
  require_in_range("threads", r.threads, 1, 256);
  require_in_range("objective", r.objective, BALLAST_OBJECTIVE_TOKENS,
                   BALLAST_OBJECTIVE_ACTIVATIONS);
  require_in_range("passes", r.passes, 0, std::int64_t{1} << 62);
  require_in_range("max_moves", r.max_moves, -1, std::int64_t{1} << 62);
  require_in_range("max_bytes", r.max_bytes, -1, std::int64_t{1} << 62);
  require_in_range("max_moves_total", r.max_moves_total, -1, std::int64_t{1} << 62);
  for (const std::int64_t bytes : r.max_bytes_per_link) {
    require_in_range("max_bytes_per_link", bytes, -1, std::int64_t{1} << 62);
  }
  require_in_range("expert_bytes", r.expert_bytes, 0, std::int64_t{1} << 46);
  require_priced("max_bytes", r.max_bytes, r.expert_bytes);
  for (const std::int64_t bytes : r.max_bytes_per_link) {
    require_priced("max_bytes_per_link", bytes, r.expert_bytes);
  }
  require_in_range("windows", r.windows, r.series != nullptr ? 1 : 0, std::int64_t{1} << 24);
  require_in_range("prediction", r.prediction, BALLAST_PREDICTION_AUTO, BALLAST_PREDICTION_ROBUST);
  require_in_range("decay_shift", r.decay_shift, 1, 16);
  require_in_range("window_steps", r.window_steps, 1, std::int64_t{1} << 32);
  require_in_range("token_ns", r.token_ns, 0, 1'000'000'000);
  require_in_range("horizon", r.horizon, 0, std::int64_t{1} << 62);
  if (static_cast<std::int64_t>(r.ranks) * r.slots_per_rank < r.experts) {
    throw error(BALLAST_ERROR_INVALID_ARGUMENT,
                fmt::format("slots_per_rank {} on {} ranks are {} slots, fewer than {} experts",
                            r.slots_per_rank, r.ranks,
                            static_cast<std::int64_t>(r.ranks) * r.slots_per_rank, r.experts));
  }
  if (r.topology != nullptr && r.topology->found.map.rank_count() != r.ranks) {
    throw error(BALLAST_ERROR_INVALID_ARGUMENT,
                fmt::format("topology has {} ranks, the request {}",
                            r.topology->found.map.rank_count(), r.ranks));
  }
}

placement current_of(const ballast_plan_request& r, std::span<const std::int32_t> slots_per_layer) {
  const std::vector<std::int32_t> usable(r.ranks, r.slots_per_rank);
  return read_placement({r.layers, r.experts, r.slots_per_rank, r.placement, r.shares,
                         r.compatible != 0, slots_per_layer},
                        slot_layout::uniform(r.ranks, r.slots_per_rank), usable);
}

}  // namespace

asked_plan::asked_plan(const ballast_plan_request& asked) : request(asked) {
  check_shape(request);
  if (request.series == nullptr) require_argument(request.loads, "loads");
  slots_per_layer = read_slots_per_layer(request.slots_per_layer, request.layers,
                                         request.slots_per_rank, request.experts, request.ranks);
  current = current_of(request, slots_per_layer);
  cluster = request.topology != nullptr ? request.topology->found.map
                                        : uniform_cluster(request.ranks, request.ranks);
  question.slots_per_layer = slots_per_layer;
  const std::size_t cells = static_cast<std::size_t>(request.layers) * request.experts;
  question.current = &current;
  question.cluster = &cluster;
  question.policy = request.policy == nullptr ? BALLAST_DEFAULT_POLICY : request.policy;
  question.plugin = find_registered_policy(question.policy);
  question.compatible = request.compatible != 0;
  question.groups = request.groups;
  question.objective = static_cast<plan_objective>(request.objective);
  question.passes = request.passes;
  question.seed = request.seed;
  question.threads = request.threads;
  question.expert_bytes = request.expert_bytes;
  question.limits = {request.max_moves, request.max_bytes, request.max_moves_total, {}};
  std::ranges::copy(request.max_bytes_per_link, question.limits.max_bytes_per_link.begin());
  question.equal_shares = request.equal_shares != 0;
  question.cold_start = request.cold_start != 0;
  if (request.rank_speed != nullptr) {
    question.rank_speed.assign(request.rank_speed, request.rank_speed + request.ranks);
  }
  if (request.masked_ranks != nullptr) {
    question.masked_ranks.assign(request.masked_ranks, request.masked_ranks + request.ranks);
  }
  if (request.series == nullptr) question.loads = {request.loads, cells};
}

void asked_plan::foretell() {
  if (request.series == nullptr) return;
  const std::size_t cells = static_cast<std::size_t>(request.layers) * request.experts;
  question.series = {request.series, cells * static_cast<std::size_t>(request.windows)};
  question.loads = question.series.first(cells);
  if (const std::string why = why_unplannable(question); !why.empty()) {
    throw error(BALLAST_ERROR_INVALID_ARGUMENT, why);
  }
  expected_ = predict({question.series, request.layers, request.experts},
                      {static_cast<prediction_mode>(request.prediction), 0, request.decay_shift});
  question.loads = expected_.loads;
  question.deviations = expected_.deviations;
}

ballast_plan_request without_slots(const ballast_plan_request& request) {
  ballast_plan_request bare = request;
  bare.placement = nullptr;
  bare.shares = nullptr;
  bare.slots_per_layer = nullptr;
  bare.max_moves = bare.max_bytes = bare.max_moves_total = -1;
  std::ranges::fill(bare.max_bytes_per_link, -1);
  std::int64_t hosts = request.ranks;
  if (request.masked_ranks != nullptr && hosts > 0) {
    hosts -= std::count_if(request.masked_ranks, request.masked_ranks + hosts,
                           [](std::uint8_t mask) { return mask != 0; });
  }
  hosts = std::max<std::int64_t>(hosts, 1);
  bare.slots_per_rank = static_cast<std::int32_t>((std::max(request.experts, 1) - 1) / hosts + 1);
  return bare;
}

}  // namespace ballast
