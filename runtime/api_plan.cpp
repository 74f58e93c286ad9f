// The exported functions of planning without a runtime: each is one call of guard().
#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <numeric>
#include <utility>

#include "policies/payback.hpp"
#include "policies/plan.hpp"
#include "policies/redundancy.hpp"
#include "policies/schedule.hpp"
#include "runtime/error.hpp"
#include "runtime/guard.hpp"
#include "runtime/mpi_handles.hpp"
#include "runtime/plan_handle.hpp"
#include "runtime/plan_question.hpp"

using ballast::asked_plan;
using ballast::copy_out;
using ballast::error;
using ballast::guard;
using ballast::require_argument;
using ballast::require_struct_size;

namespace {

/// As the schedule sees it: nothing is on dead ranks, but for the experts that are nowhere else,
/// whose weights have to come from somewhere.
ballast::placement without_dead_ranks(const asked_plan& asked, const ballast::plan& made) {
  ballast::placement now = asked.current;
  const std::vector<std::uint8_t>& masked = asked.question.masked_ranks;
  for (int layer = 0; layer < now.layers(); ++layer) {
    const auto experts = now.experts_of(layer);
    for (int slot = 0; slot < now.slots(); ++slot) {
      if (masked.empty() || masked[now.layout().rank_of(slot)] == 0) continue;
      if (!std::ranges::binary_search(made.lost, ballast::lost_expert{layer, experts[slot]},
                                      [](const auto& a, const auto& b) {
                                        return std::pair(a.layer, a.expert) <
                                               std::pair(b.layer, b.expert);
                                      })) {
        experts[slot] = ballast::no_expert;
      }
    }
  }
  return now;
}

void summarise(ballast_plan& plan, const asked_plan& asked) {
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
  const ballast::placement current = without_dead_ranks(asked, plan.made);
  ballast::schedule_request request;
  request.current = &current;
  request.target = &plan.made.target;
  request.cluster = &asked.cluster;
  request.rows_per_layer = asked.question.slots_per_layer;
  plan.steps = make_schedule(request);
  s.schedule_seconds = ballast::seconds_since(start);
  s.batches = static_cast<int32_t>(plan.steps.batches.size());
  for (const ballast::scheduled_move& move : plan.steps.moves)
    ++s.moves_by_link[static_cast<int>(move.link)];
}

void judge_payback(const ballast_plan_request& request, const ballast::plan_request& question,
                   ballast_plan& plan) {
  ballast::payback_terms terms{
      request.token_ns * ballast::ps_per_ns, request.window_steps, request.horizon, {}};
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
    asked_plan asked(*request);
    auto made = std::make_unique<ballast_plan>();
    const auto start = ballast::steady_clock::now();
    asked.foretell();
    made->made = ballast::decide(asked.question);
    made->summary.plan_seconds = ballast::seconds_since(start);
    ballast::report(asked.question, made->made);
    judge_payback(*request, asked.question, *made);
    summarise(*made, asked);
    made->loads.assign(asked.question.loads.begin(), asked.question.loads.end());
    made->current = std::move(asked.current);
    *plan = made.release();
  });
}

void ballast_plan_destroy(ballast_plan* plan) { delete plan; }

ballast_status ballast_slots_choose(const ballast_plan_request* request, int64_t slots_budget,
                                    int32_t* slots_per_layer, double* balance_fewest,
                                    double* balance, ballast_slots_summary* summary) {
  return guard([&] {
    require_argument(request, "request");
    require_argument(slots_per_layer, "slots_per_layer");
    require_struct_size(request->struct_size, sizeof(*request), sizeof(*request), "request");
    asked_plan asked(ballast::without_slots(*request));
    asked.foretell();
    const ballast::slot_choice choice = ballast::choose_slots({asked.question, slots_budget});
    ballast_slots_summary sums = {sizeof(sums), 0, 0, choice.balance(choice.fewest),
                                  choice.balance(choice.chosen)};
    sums.slots = std::accumulate(choice.slots.begin(), choice.slots.end(), std::int64_t{0});
    sums.slots_fewest = choice.fewest_slots * static_cast<std::int64_t>(choice.slots.size());
    copy_out(sums, summary, "summary");
    std::ranges::copy(choice.slots, slots_per_layer);
    for (std::size_t layer = 0; layer < choice.slots.size(); ++layer) {
      if (balance_fewest != nullptr) balance_fewest[layer] = choice.balance({choice.fewest[layer]});
      if (balance != nullptr) balance[layer] = choice.balance({choice.chosen[layer]});
    }
  });
}

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
