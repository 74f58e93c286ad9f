#include "policies/redundancy.hpp"

#include <algorithm>
#include <numeric>
#include <stdexcept>
#include <string>

#include "policies/activations.hpp"
#include "policies/request.hpp"

namespace ballast {

namespace {

constexpr int patience = 2;                // slots that may bring nothing before the next one might
constexpr std::int64_t even_parts = 4096;  // a layer this near its mean needs no more

/// What plans with growing numbers of slots made of a layer.
struct layer_curve {
  std::vector<layer_outcome> by_extra;  // the best with at most so many slots beyond the fewest
  int idle = 0;                         // slots that have brought nothing
  bool ended = false;
};

/// The windows of some layers, in a row.
std::vector<std::int64_t> cut_layers(std::span<const std::int64_t> windows, std::size_t layers,
                                     std::size_t experts, std::span<const std::int32_t> chosen) {
  std::vector<std::int64_t> cut;
  for (std::size_t first = 0; first < windows.size(); first += layers * experts) {
    for (const std::int32_t layer : chosen) {
      const auto own = windows.subspan(first + layer * experts, experts);
      cut.insert(cut.end(), own.begin(), own.end());
    }
  }
  return cut;
}

/// Plans some layers from nothing with so many slots on every rank.
plan plan_afresh(const plan_request& asked, std::int32_t slots,
                 std::span<const std::int32_t> chosen) {
  const auto layers = static_cast<std::size_t>(asked.current->layers());
  const auto experts = static_cast<std::size_t>(asked.current->experts());
  const int ranks = asked.current->layout().ranks();
  const auto loads = cut_layers(asked.loads, layers, experts, chosen);
  const auto series = cut_layers(asked.series, layers, experts, chosen);
  const auto deviations = cut_layers(asked.deviations, layers, experts, chosen);
  std::vector<std::int32_t> usable(static_cast<std::size_t>(ranks), slots);
  for (std::size_t rank = 0; rank < asked.masked_ranks.size(); ++rank) {
    if (asked.masked_ranks[rank] != 0) usable[rank] = 0;
  }
  const placement start =
      initial_placement(static_cast<int>(chosen.size()), static_cast<int>(experts),
                        slot_layout::uniform(ranks, slots), usable);
  plan_request request = asked;
  request.loads = loads;
  request.series = series;
  request.deviations = deviations;
  request.current = &start;
  request.usable_slots.clear();
  request.slots_per_layer.clear();
  request.limits = {};
  request.cold_start = true;
  plan made = decide(request);
  // The bounds of report() take longer than the plan.
  const std::vector<std::int64_t> counted = request.objective == plan_objective::activations
                                                ? activations_of(request)
                                                : std::vector<std::int64_t>();
  const std::span<const std::int64_t> weights = counted.empty() ? request.loads : counted;
  for (std::size_t layer = 0; layer < chosen.size(); ++layer) {
    for (const std::int64_t weight : weights.subspan(layer * experts, experts)) {
      made.layers[layer].total += static_cast<scaled_load>(weight) * share_one;
    }
  }
  return made;
}

std::int32_t fewest_slots(const plan_request& request) {
  const int hosts = living_ranks(request);
  if (hosts < 1) throw std::invalid_argument("masked_ranks: no rank is left");
  return (request.current->experts() + hosts - 1) / hosts;
}

void extend(layer_curve& curve, const layer_outcome& next, int ranks) {
  const bool better = curve.by_extra.empty() || next.max_after < curve.by_extra.back().max_after;
  curve.by_extra.push_back(better ? next : curve.by_extra.back());
  curve.idle = better ? 0 : curve.idle + 1;
  const scaled_load mean = (next.total + ranks - 1) / ranks;
  curve.ended =
      curve.idle >= patience || curve.by_extra.back().max_after <= mean + mean / even_parts;
}

/// [layers] up to `most_extra` slots beyond the fewest.
std::vector<layer_curve> draw_curves(const plan_request& request, std::int32_t fewest,
                                     std::int64_t most_extra) {
  std::vector<layer_curve> curves(static_cast<std::size_t>(request.current->layers()));
  // A rank holds an expert once, and has 1024 slots at most.
  most_extra = std::min<std::int64_t>(
      most_extra, std::min<std::int64_t>(request.current->experts(), 1024) - fewest);
  for (std::int64_t extra = 0; extra <= std::max<std::int64_t>(most_extra, 0); ++extra) {
    std::vector<std::int32_t> open;
    for (std::size_t layer = 0; layer < curves.size(); ++layer) {
      if (!curves[layer].ended) open.push_back(static_cast<std::int32_t>(layer));
    }
    if (open.empty()) break;
    const plan made = plan_afresh(request, fewest + static_cast<std::int32_t>(extra), open);
    for (std::size_t i = 0; i < open.size(); ++i) {
      extend(curves[open[i]], made.layers[i], made.living_ranks);
    }
  }
  for (layer_curve& curve : curves) {
    auto& best = curve.by_extra;
    while (best.size() > 1 && best[best.size() - 2].max_after == best.back().max_after) {
      best.pop_back();
    }
  }
  return curves;
}

/// A knapsack, last layer first: least[spent] of the layers from here on, and what this layer takes
/// of it. Returns [layers] extra slots.
std::vector<std::int32_t> spend(const std::vector<layer_curve>& curves, std::int64_t extra) {
  std::int64_t useful = 0;
  for (const layer_curve& curve : curves) {
    useful += static_cast<std::int64_t>(curve.by_extra.size()) - 1;
  }
  const auto purse = static_cast<std::size_t>(std::min(extra, useful));
  std::vector<scaled_load> least(purse + 1, 0);
  std::vector<scaled_load> with_layer(purse + 1);
  std::vector<std::vector<std::int32_t>> taken(curves.size(),
                                               std::vector<std::int32_t>(purse + 1, 0));
  for (std::size_t layer = curves.size(); layer-- > 0;) {
    const auto& by_extra = curves[layer].by_extra;
    for (std::size_t spent = 0; spent <= purse; ++spent) {
      with_layer[spent] = by_extra[0].max_after + least[spent];
      for (std::size_t more = 1; more < by_extra.size() && more <= spent; ++more) {
        const scaled_load sum = by_extra[more].max_after + least[spent - more];
        if (sum >= with_layer[spent]) continue;
        with_layer[spent] = sum;
        taken[layer][spent] = static_cast<std::int32_t>(more);
      }
    }
    least.swap(with_layer);
  }
  std::size_t left = 0;  // the fewest that reach the least
  while (least[left] != least[purse]) ++left;
  std::vector<std::int32_t> extras;
  for (std::size_t layer = 0; layer < curves.size(); ++layer) {
    extras.push_back(taken[layer][left]);
    left -= static_cast<std::size_t>(extras.back());
  }
  return extras;
}

}  // namespace

slot_choice choose_slots(const redundancy_question& question) {
  plan_request request = question.request;
  const int layers = request.current->layers();
  const std::int32_t fewest = fewest_slots(request);
  const std::int64_t extra = question.slots_per_rank - static_cast<std::int64_t>(fewest) * layers;
  if (extra < 0) {
    throw std::invalid_argument("slots_budget: " + std::to_string(question.slots_per_rank) +
                                " slots of a rank in all layers are fewer than the " +
                                std::to_string(static_cast<std::int64_t>(fewest) * layers) +
                                " that one replica of every expert takes");
  }
  const std::vector<layer_curve> curves = draw_curves(request, fewest, extra);
  const std::vector<std::int32_t> extras = spend(curves, extra);
  slot_choice choice;
  choice.fewest_slots = fewest;
  choice.living_ranks = living_ranks(request);
  for (int layer = 0; layer < layers; ++layer) {
    choice.slots.push_back(fewest + extras[layer]);
    choice.fewest.push_back(curves[layer].by_extra.front());
    choice.chosen.push_back(curves[layer].by_extra[extras[layer]]);
  }
  return choice;
}

double slot_choice::balance(const std::vector<layer_outcome>& layers) const {
  double total = 0;
  double fullest = 0;
  for (const layer_outcome& layer : layers) {
    total += static_cast<double>(layer.total);
    fullest += static_cast<double>(layer.max_after);
  }
  return fullest > 0 ? total / living_ranks / fullest : 1.0;
}

}  // namespace ballast
