#include "jobs/bench/plan_loads.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <numeric>
#include <stdexcept>

#include "jobs/loads/count_noise.hpp"
#include "jobs/loads/models.hpp"
#include "jobs/loads/portable_math.hpp"
#include "jobs/loads/random_stream.hpp"
#include "jobs/loads/trace.hpp"

namespace ballast {
namespace {

constexpr std::int64_t tokens_per_layer = std::int64_t{1} << 20;
constexpr std::size_t semantic_groups = 8;  // of family `group`

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

using popularity = std::span<double>;
using draw_popularity = void (*)(popularity p, double parameter, random_stream& random);

void log_normal(popularity p, double sigma, random_stream& random) {
  for (double& value : p) value = portable_exp(sigma * random.normal());
}

std::vector<std::size_t> shuffled(std::size_t count, random_stream& random) {
  std::vector<std::size_t> order(count);
  std::iota(order.begin(), order.end(), std::size_t{0});
  for (std::size_t i = count; i > 1; --i) std::swap(order[i - 1], order[random.below(i)]);
  return order;
}

void zipf(popularity p, double exponent, random_stream& random) {
  const std::vector<std::size_t> order = shuffled(p.size(), random);
  for (std::size_t k = 0; k < p.size(); ++k)
    p[order[k]] = portable_exp(-exponent * portable_log(static_cast<double>(k + 1)));
}

void two_hot_groups(popularity p, double, random_stream& random) {
  std::array<double, semantic_groups> heat;
  log_normal(heat, 0.3, random);
  const std::vector<std::size_t> hot = shuffled(semantic_groups, random);
  heat[hot[0]] *= 6;
  heat[hot[1]] *= 3;
  log_normal(p, 0.4, random);
  for (std::size_t e = 0; e < p.size(); ++e) p[e] *= heat[e * semantic_groups / p.size()];
}

void nearly_alike(popularity p, double spread, random_stream& random) {
  for (double& value : p) value = 1 + spread * random.normal();
}

void one_hot_expert(popularity p, double part, random_stream& random) {
  log_normal(p, 0.5, random);
  double& hot = p[random.below(p.size())];
  hot = 0;
  hot = std::accumulate(p.begin(), p.end(), 0.0) * part / (1 - part);
}

void idle_experts(popularity p, double part, random_stream& random) {
  log_normal(p, 1.0, random);
  const auto idle = std::max<std::size_t>(
      2, static_cast<std::size_t>(static_cast<double>(p.size()) * part + 1e-9));
  const std::vector<std::size_t> order = shuffled(p.size(), random);
  for (std::size_t i = 0; i < idle; ++i) p[order[i]] = 0;
}

struct load_family {
  std::string_view name;
  draw_popularity draw;
  double parameter;
};

constexpr std::array<load_family, 10> families = {{
    {"logn0.5", log_normal, 0.5},
    {"logn1.0", log_normal, 1.0},
    {"logn1.5", log_normal, 1.5},
    {"zipf0.6", zipf, 0.6},
    {"zipf1.0", zipf, 1.0},
    {"zipf1.4", zipf, 1.4},
    {"group", two_hot_groups, 0},
    {"uniform", nearly_alike, 0.03},
    {"hot30", one_hot_expert, 0.3},
    {"zeros", idle_experts, 0.08},
}};

constexpr auto family_names = [] {
  std::array<std::string_view, families.size()> names;
  for (std::size_t i = 0; i < families.size(); ++i) names[i] = families[i].name;
  return names;
}();

std::size_t family_index(std::string_view family) {
  const auto found = std::ranges::find(family_names, family);
  if (found == family_names.end()) {
    throw std::invalid_argument(
        fmt::format("family {} is unknown; known: {}", family, fmt::join(family_names, ", ")));
  }
  return static_cast<std::size_t>(found - family_names.begin());
}

}  // namespace

std::span<const plan_shape> plan_shapes() { return shapes; }

std::span<const std::string_view> load_family_names() { return family_names; }

layer_loads make_plan_loads(const plan_shape& shape, std::string_view family, std::uint64_t seed) {
  const std::size_t index = family_index(family);
  const model_preset& model = *find_model(shape.model).model;
  layer_loads made{model.layers, model.experts, {}};
  made.loads.resize(static_cast<std::size_t>(made.layers) * made.experts);
  std::vector<double> p(static_cast<std::size_t>(made.experts));
  count_sampler sampler;
  for (int layer = 0; layer < made.layers; ++layer) {
    // Shapes of the same model and family see the same loads.
    random_stream random(seed, index, static_cast<std::uint64_t>(layer),
                         static_cast<std::uint64_t>(made.experts));
    families[index].draw(p, families[index].parameter, random);
    sampler.draw(p, {tokens_per_layer, 1}, 1.0, random,
                 std::span(made.loads).subspan(layer * p.size(), p.size()));
  }
  return made;
}

layer_loads read_plan_loads(const plan_shape& shape, std::string_view family,
                            const std::string& folder) {
  const model_preset& model = *find_model(shape.model).model;
  const std::string path =
      fmt::format("{}/{}_{}.npy", folder, shape.name.substr(0, shape.name.find('_')), family);
  const std::unique_ptr<load_source> source = open_trace(path);
  if (source->layers() != model.layers || source->experts() != model.experts ||
      source->steps() != 1) {
    throw std::invalid_argument(
        fmt::format("{}: {} layers x {} experts, {} steps; shape {} has {} "
                    "x {}, one step",
                    path, source->layers(), source->experts(), source->steps(), shape.name,
                    model.layers, model.experts));
  }
  layer_loads read{model.layers, model.experts, {}};
  read.loads.resize(static_cast<std::size_t>(read.layers) * read.experts);
  source->counts(0, read.loads);
  return read;
}

}  // namespace ballast
