#include "jobs/plan/curve.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "jobs/output.hpp"
#include "jobs/plan/planned.hpp"
#include "jobs/plan/report.hpp"
#include "jobs/plan/text_table.hpp"

namespace ballast {
namespace {

constexpr double gib = 1024.0 * 1024.0 * 1024.0;
constexpr int bar_width = 40;

struct curve_point {
  std::int64_t max_moves = -1;
  ballast_plan_summary summary = {};
  double gib = 0;
  double balance_per_gib = 0;  ///< what each GiB beyond the point before buys; 0 for the first
};

std::int64_t most_moves_of_a_layer(const planned& made) {
  std::int64_t most = 0;
  for (int layer = 0; layer < made.request.layers; ++layer) {
    ballast_plan_layer summary;
    summary.struct_size = sizeof(summary);
    check(ballast_plan_layer_summary(made.plan.get(), layer, &summary));
    most = std::max(most, summary.moves);
  }
  return most;
}

std::vector<curve_point> measure(const plan_options& options, const plan_inputs& inputs,
                                 plan_choice choice) {
  choice.max_moves = {};
  const planned unlimited = make_plan(options, inputs, choice);
  const std::int64_t most = most_moves_of_a_layer(unlimited);
  std::vector<curve_point> points;
  const auto add = [&](std::int64_t max_moves, const ballast_plan_summary& summary) {
    curve_point point{max_moves, summary,
                      static_cast<double>(summary.moves) * inputs.expert_bytes / gib, 0};
    if (!points.empty()) {
      const curve_point& before = points.back();
      if (point.summary.moves == before.summary.moves) return;
      point.balance_per_gib =
          (point.summary.balance_after - before.summary.balance_after) / (point.gib - before.gib);
    }
    points.push_back(point);
  };
  for (std::int64_t budget = 0; budget < most; budget = std::max<std::int64_t>(1, 2 * budget)) {
    choice.max_moves = {budget, 0};
    add(budget, make_plan(options, inputs, choice).summary);
  }
  add(-1, unlimited.summary);
  return points;
}

void print_curve(const plan_inputs& inputs, const plan_choice& choice,
                 const std::vector<curve_point>& points) {
  const double before = points.front().summary.balance_before;
  const double bound = std::max(points.front().summary.balance_bound, before);
  text_table table({{"moves <=", "a layer"},
                    {"moves", ""},
                    {"moved", "GiB"},
                    {"balance", ""},
                    {"each GiB", "points"},
                    {fmt::format("{:.4f}{:>{}.4f}", before, bound, bar_width - 6), "", true}});
  for (const curve_point& point : points) {
    const double part =
        bound > before ? (point.summary.balance_after - before) / (bound - before) : 1.0;
    const auto filled = static_cast<std::size_t>(std::clamp(part, 0.0, 1.0) * bar_width + 0.5);
    table.add({point.max_moves < 0 ? "any" : std::to_string(point.max_moves),
               std::to_string(point.summary.moves), fmt::format("{:.2f}", point.gib),
               fmt::format("{:.4f}", point.summary.balance_after),
               &point == &points.front() ? "" : fmt::format("{:.4f}", point.balance_per_gib * 100),
               std::string(filled, '#') + std::string(bar_width - filled, '.')});
  }
  fmt::print("{} layers x {} experts on {} ranks x {} slots, policy {}\n", inputs.layers,
             inputs.experts, choice.ranks, choice.slots_per_rank, choice.policy);
  fmt::print("balance {:.4f} as it is, at most {:.4f}; a point is 0.01 of balance\n{}", before,
             bound, table.text());
}

}  // namespace

exit_code run_curve(const plan_options& options, const plan_inputs& inputs,
                    const plan_choice& choice) {
  const std::vector<curve_point> points = measure(options, inputs, choice);
  if (!options.quiet && options.json != "-") {
    print_series(options, inputs);
    print_curve(inputs, choice, points);
  }

  nlohmann::ordered_json document = json_head("plan");
  document["schema"] = "ballast.plan.curve/1";
  document["layers"] = inputs.layers;
  document["experts"] = inputs.experts;
  document["ranks"] = choice.ranks;
  document["slots_per_rank"] = choice.slots_per_rank;
  document["policy"] = choice.policy;
  document["expert_bytes"] = inputs.expert_bytes;
  document["balance_before"] = points.front().summary.balance_before;
  document["balance_bound"] = points.front().summary.balance_bound;
  add_series(options, inputs, document);
  auto& curve = document["curve"] = nlohmann::ordered_json::array();
  for (const curve_point& point : points) {
    curve.push_back({{"max_moves", point.max_moves},
                     {"moves", point.summary.moves},
                     {"bytes", point.summary.moves * inputs.expert_bytes},
                     {"balance", point.summary.balance_after},
                     {"balance_per_gib", point.balance_per_gib},
                     {"plan_seconds", point.summary.plan_seconds}});
  }
  write_json(document, options.json);
  return exit_code::ok;
}

}  // namespace ballast
