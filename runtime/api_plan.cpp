// The exported functions of planning without a runtime: each is one call of guard().
#include <fmt/format.h>

#include <algorithm>
#include <memory>

#include "policies/payback.hpp"
#include "policies/plan.hpp"
#include "policies/prediction.hpp"
#include "policies/schedule.hpp"
#include "runtime/discovery.hpp"
#include "runtime/error.hpp"
#include "runtime/given_placement.hpp"
#include "runtime/guard.hpp"
#include "runtime/mpi_handles.hpp"
#include "runtime/plan_handle.hpp"
#include "runtime/plugins.hpp"

using ballast::copy_out;
using ballast::error;
using ballast::guard;
using ballast::require_argument;
using ballast::require_in_range;
using ballast::require_struct_size;

namespace {

ballast::placement current_of(const ballast_plan_request& r) {
  const std::vector<std::int32_t> usable(r.ranks, r.slots_per_rank);
  return ballast::read_placement(
      {r.layers, r.experts, r.slots_per_rank, r.placement, r.shares, r.compatible != 0},
      ballast::slot_layout::uniform(r.ranks, r.slots_per_rank), usable);
}

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

void summarise(ballast_plan& plan, const ballast::placement& current,
               const ballast::cluster_map& cluster) {
  ballast_plan_summary& s = plan.summary;
  s.struct_size = sizeof(s);
  s.digest = plan.made.digest;
  s.balance_before = plan.made.balance_before();
  s.balance_after = plan.made.balance_after();
  s.balance_bound = plan.made.balance_bound();
  s.gap = plan.made.gap();
  s.moves = plan.made.moves();
  s.layers_changed = static_cast<int32_t>(plan.made.changed.size());
  const auto start = ballast::steady_clock::now();
  ballast::schedule_request request;
  request.current = &current;
  request.target = &plan.made.target;
  request.cluster = &cluster;
  plan.steps = make_schedule(request);
  s.schedule_seconds = ballast::seconds_since(start);
  s.batches = static_cast<int32_t>(plan.steps.batches.size());
  for (const ballast::scheduled_move& move : plan.steps.moves)
    ++s.moves_by_link[static_cast<int>(move.link)];
}

/// Of the window after the series, if there is one; the windows themselves go into `question`.
ballast::forecast foretell(const ballast_plan_request& request, ballast::plan_request& question) {
  if (request.series == nullptr) return {};
  const std::size_t cells = static_cast<std::size_t>(request.layers) * request.experts;
  question.series = {request.series, cells * static_cast<std::size_t>(request.windows)};
  question.loads = question.series.first(cells);
  if (const std::string why = why_unplannable(question); !why.empty()) {
    throw error(BALLAST_ERROR_INVALID_ARGUMENT, why);
  }
  return ballast::predict(
      {question.series, request.layers, request.experts},
      {static_cast<ballast::prediction_mode>(request.prediction), 0, request.decay_shift});
}

void judge_payback(const ballast_plan_request& request, const ballast::plan_request& question,
                   ballast_plan& plan) {
  ballast::payback_terms terms{request.token_ns, request.window_steps, request.horizon};
  if (request.series != nullptr && request.prediction == BALLAST_PREDICTION_SUM) {
    terms.window_steps *= request.windows;
  }
  ballast::payback result;
  judge(question, terms, plan.made, result);
  ballast_plan_summary& s = plan.summary;
  const auto seconds = [](std::int64_t ns) { return static_cast<double>(ns) * 1e-9; };
  s.seconds_saved_per_step = seconds(result.saved_ns);
  s.transfer_seconds = seconds(result.transfer_ns_total);
  for (int link = 0; link < BALLAST_LINK_CLASSES; ++link)
    s.transfer_seconds_by_link[link] = seconds(result.transfer_ns[link]);
  s.payback_steps = result.steps;
  s.payback_refused = result.refused ? 1 : 0;
}

}  // namespace

extern "C" {

void ballast_plan_request_init(ballast_plan_request* request) {
  if (request == nullptr) return;
  *request = ballast_plan_request{};
  request->struct_size = sizeof(*request);
  request->policy = BALLAST_DEFAULT_POLICY;
  request->groups = 1;
  request->max_moves = -1;
  request->max_bytes = -1;
  request->max_moves_total = -1;
  for (std::int64_t& bytes : request->max_bytes_per_link) bytes = -1;
  request->threads = 1;
  request->seed = 1;
  request->decay_shift = 1;
  request->window_steps = 1;
}

ballast_status ballast_plan_create(const ballast_plan_request* request, ballast_plan** plan) {
  return guard([&] {
    require_argument(request, "request");
    require_argument(plan, "plan");
    require_struct_size(request->struct_size, sizeof(*request), sizeof(*request), "request");
    check_shape(*request);
    if (request->series == nullptr) require_argument(request->loads, "loads");
    ballast::placement current = current_of(*request);
    const ballast::cluster_map cluster =
        request->topology != nullptr ? request->topology->found.map
                                     : ballast::uniform_cluster(request->ranks, request->ranks);

    ballast::plan_request question;
    const std::size_t cells = static_cast<std::size_t>(request->layers) * request->experts;
    question.current = &current;
    question.cluster = &cluster;
    question.policy = request->policy == nullptr ? BALLAST_DEFAULT_POLICY : request->policy;
    question.plugin = ballast::find_registered_policy(question.policy);
    question.compatible = request->compatible != 0;
    question.groups = request->groups;
    question.objective = static_cast<ballast::plan_objective>(request->objective);
    question.passes = request->passes;
    question.seed = request->seed;
    question.threads = request->threads;
    question.expert_bytes = request->expert_bytes;
    question.limits = {request->max_moves, request->max_bytes, request->max_moves_total, {}};
    std::ranges::copy(request->max_bytes_per_link, question.limits.max_bytes_per_link.begin());
    question.equal_shares = request->equal_shares != 0;
    question.cold_start = request->cold_start != 0;
    if (request->rank_speed != nullptr) {
      question.rank_speed.assign(request->rank_speed, request->rank_speed + request->ranks);
    }
    if (request->masked_ranks != nullptr) {
      question.masked_ranks.assign(request->masked_ranks, request->masked_ranks + request->ranks);
    }

    auto made = std::make_unique<ballast_plan>();
    const auto start = ballast::steady_clock::now();
    const ballast::forecast expected = foretell(*request, question);
    question.loads = request->series != nullptr ? expected.loads : std::span(request->loads, cells);
    question.deviations = expected.deviations;
    made->made = ballast::decide(question);
    made->summary.plan_seconds = ballast::seconds_since(start);
    ballast::report(question, made->made);
    judge_payback(*request, question, *made);
    summarise(*made, current, cluster);
    made->loads.assign(question.loads.begin(), question.loads.end());
    made->current = std::move(current);
    *plan = made.release();
  });
}

void ballast_plan_destroy(ballast_plan* plan) { delete plan; }

ballast_status ballast_plan_summarise(const ballast_plan* plan, ballast_plan_summary* summary) {
  return guard([&] {
    require_argument(plan, "plan");
    copy_out(plan->summary, summary, "summary");
  });
}

ballast_status ballast_plan_layer_summary(const ballast_plan* plan, int32_t layer,
                                          ballast_plan_layer* summary) {
  return guard([&] {
    require_argument(plan, "plan");
    if (layer < 0 || layer >= plan->made.target.layers()) {
      throw error(BALLAST_ERROR_INVALID_ARGUMENT,
                  fmt::format("layer {} is not in 0..{}", layer, plan->made.target.layers() - 1));
    }
    const ballast::layer_outcome& outcome = plan->made.layers[layer];
    const auto balance = [&](ballast::scaled_load fullest) {
      return fullest == 0 ? 1.0
                          : static_cast<double>(outcome.total) / plan->made.living_ranks /
                                static_cast<double>(fullest);
    };
    copy_out(ballast_plan_layer{sizeof(ballast_plan_layer), balance(outcome.max_before),
                                balance(outcome.max_after), balance(outcome.bound), outcome.moves},
             summary, "summary");
  });
}

ballast_status ballast_plan_placement(const ballast_plan* plan, int32_t* experts, int32_t* shares) {
  return guard([&] {
    require_argument(plan, "plan");
    const ballast::placement& target = plan->made.target;
    for (int layer = 0; layer < target.layers(); ++layer) {
      const std::size_t offset = static_cast<std::size_t>(layer) * target.slots();
      if (experts != nullptr) std::ranges::copy(target.experts_of(layer), experts + offset);
      if (shares != nullptr) std::ranges::copy(target.shares_of(layer), shares + offset);
    }
  });
}

}  // extern "C"
