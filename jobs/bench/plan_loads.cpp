#include "jobs/bench/plan_loads.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>
#include <stdexcept>

#include "jobs/loads/generator.hpp"
#include "jobs/loads/models.hpp"

namespace ballast {
namespace {

constexpr std::int64_t tokens_per_layer = std::int64_t{1} << 20;

constexpr std::array<plan_shape, 9> shapes = {{
    {"dsv3_ep32_288_hier", "deepseek-v3", 8, 4, 32, 288, true},
    {"dsv3_ep32_288_glob", "deepseek-v3", 1, 4, 32, 288, false},
    {"dsv3_ep64_320_hier", "deepseek-v3", 8, 8, 64, 320, true},
    {"dsv3_ep64_320_glob", "deepseek-v3", 1, 8, 64, 320, false},
    {"dsv3_ep144_288", "deepseek-v3", 8, 18, 144, 288, false},
    {"dsv3_ep320_320", "deepseek-v3", 8, 40, 320, 320, false},
    {"qwen3_ep16_144", "qwen3-235b", 1, 2, 16, 144, false},
    {"qwen3_ep64_192", "qwen3-235b", 1, 8, 64, 192, false},
    {"kimi_ep128_512", "kimi-k2", 1, 16, 128, 512, false},
}};

using reshape = void (*)(std::span<std::int64_t> loads, int layer, double parameter);

// The experts in the order of their loads, heaviest first, get rank^-exponent of the total.
void zipf(std::span<std::int64_t> loads, int, double exponent) {
  std::vector<std::size_t> order(loads.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::ranges::stable_sort(order,
                           [&](std::size_t a, std::size_t b) { return loads[a] > loads[b]; });
  double sum = 0;
  for (std::size_t k = 1; k <= order.size(); ++k)
    sum += std::pow(static_cast<double>(k), -exponent);
  for (std::size_t k = 0; k < order.size(); ++k) {
    loads[order[k]] =
        std::llround(tokens_per_layer * std::pow(static_cast<double>(k + 1), -exponent) / sum);
  }
}

void two_hot_groups(std::span<std::int64_t> loads, int layer, double) {
  constexpr std::size_t groups = 8;
  const std::size_t hottest = static_cast<std::size_t>(layer) * 5 % groups;
  const std::size_t second = (hottest + 3) % groups;
  for (std::size_t e = 0; e < loads.size(); ++e) {
    const std::size_t group = e * groups / loads.size();
    if (group == hottest) loads[e] *= 6;
    if (group == second) loads[e] *= 3;
  }
}

void one_hot_expert(std::span<std::int64_t> loads, int layer, double) {
  std::int64_t& hot = loads[(static_cast<std::size_t>(layer) * 101 + 7) % loads.size()];
  hot = 0;
  hot = std::accumulate(loads.begin(), loads.end(), std::int64_t{0}) * 3 / 7;
}

void idle_experts(std::span<std::int64_t> loads, int layer, double) {
  for (std::size_t e = 0; e < loads.size(); ++e) {
    if ((e * 37 + static_cast<std::size_t>(layer) * 11) % 25 < 2) loads[e] = 0;
  }
}

struct load_family {
  std::string_view name;
  const char* marginal;  // and cv: of the generator
  double cv;             // of a log-normal: sqrt(exp(sigma^2) - 1)
  reshape change;
  double parameter;
};

constexpr std::array<load_family, 11> families = {{
    {"logn0.5", "lognormal", 0.53, nullptr, 0},
    {"logn1.0", "lognormal", 1.31, nullptr, 0},
    {"logn1.5", "lognormal", 2.91, nullptr, 0},
    {"gamma0.8", "gamma", 0.8, nullptr, 0},
    {"zipf0.6", "lognormal", 0.8, zipf, 0.6},
    {"zipf1.0", "lognormal", 0.8, zipf, 1.0},
    {"zipf1.4", "lognormal", 0.8, zipf, 1.4},
    {"group", "lognormal", 0.42, two_hot_groups, 0},
    {"uniform", "uniform", 0, nullptr, 0},
    {"hot30", "lognormal", 0.53, one_hot_expert, 0},
    {"zeros", "lognormal", 1.31, idle_experts, 0},
}};

constexpr auto family_names = [] {
  std::array<std::string_view, families.size()> names;
  for (std::size_t i = 0; i < families.size(); ++i) names[i] = families[i].name;
  return names;
}();

}  // namespace

std::span<const plan_shape> plan_shapes() { return shapes; }

std::span<const std::string_view> load_family_names() { return family_names; }

layer_loads make_plan_loads(const plan_shape& shape, std::string_view family, std::uint64_t seed) {
  const auto found = std::ranges::find(families, family, &load_family::name);
  if (found == families.end()) {
    throw std::invalid_argument(
        fmt::format("family {} is unknown; known: {}", family, fmt::join(family_names, ", ")));
  }
  generator_spec spec;
  spec.model = shape.model;
  spec.tokens_per_step = tokens_per_layer / find_model(shape.model).model->top_k;
  spec.shape = parse_generator_spec(fmt::format("marginal={}", found->marginal)).shape;
  spec.cv = found->cv;
  spec.steps = 1;
  spec.seed = seed;
  const std::unique_ptr<load_source> source = make_generator(spec);
  layer_loads made{source->layers(), source->experts(), {}};
  made.loads.resize(static_cast<std::size_t>(made.layers) * made.experts);
  source->counts(0, made.loads);
  if (found->change == nullptr) return made;
  for (int layer = 0; layer < made.layers; ++layer) {
    found->change(
        std::span(made.loads).subspan(static_cast<std::size_t>(layer) * made.experts, made.experts),
        layer, found->parameter);
  }
  return made;
}

}  // namespace ballast
