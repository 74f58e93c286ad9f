// The text form of a generator's specification and the ranges of its fields.

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <functional>
#include <stdexcept>
#include <vector>

#include "jobs/loads/count_noise.hpp"
#include "jobs/loads/generator.hpp"
#include "jobs/loads/models.hpp"
#include "jobs/loads/printable.hpp"

namespace ballast {

namespace {

[[noreturn]] void fail(std::string_view what) {
  throw std::invalid_argument(fmt::format("generator: {}", what));
}

template <typename Number>
Number to_number(std::string_view key, std::string_view text, const char* kind) {
  Number value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error == std::errc::result_out_of_range)
    fail(fmt::format("{}={} is out of range", key, printable(text, 60)));
  if (error != std::errc() || end != text.data() + text.size()) {
    fail(fmt::format("{}={} is not {}", key, printable(text, 60), kind));
  }
  return value;
}

marginal to_marginal(std::string_view text) {
  std::string known;
  for (int index = 0; index < marginal_count; ++index) {
    const auto shape = static_cast<marginal>(index);
    if (text == to_string(shape)) return shape;
    known += fmt::format("{}{}", known.empty() ? "" : ", ", to_string(shape));
  }
  fail(fmt::format("marginal={} is unknown; known: {}", printable(text, 60), known));
}

void set_field(generator_spec& spec, std::string_view key, std::string_view value) {
  const auto whole = [&]<typename Number>(Number) {
    return to_number<Number>(key, value, "a whole number");
  };
  const auto real = [&] { return to_number<double>(key, value, "a number"); };
  if (key == "model")
    spec.model = std::string(value);
  else if (key == "layers")
    spec.layers = whole(std::int32_t{});
  else if (key == "experts")
    spec.experts = whole(std::int32_t{});
  else if (key == "top_k")
    spec.top_k = whole(std::int32_t{});
  else if (key == "marginal")
    spec.shape = to_marginal(value);
  else if (key == "cv")
    spec.cv = real();
  else if (key == "drift")
    spec.drift = real();
  else if (key == "domains")
    spec.domains = whole(std::int32_t{});
  else if (key == "domain_steps")
    spec.domain_steps = whole(std::int64_t{});
  else if (key == "tokens_per_step")
    spec.tokens_per_step = whole(std::int64_t{});
  else if (key == "noise")
    spec.noise = real();
  else if (key == "steps")
    spec.steps = whole(std::int64_t{});
  else if (key == "seed")
    spec.seed = whole(std::uint64_t{});
  else
    fail(
        fmt::format("unknown key \"{}\"; known: model, layers, experts, top_k, marginal, cv, "
                    "drift, domains, domain_steps, "
                    "tokens_per_step, noise, steps, seed",
                    printable(key, 60)));
}

/// Also refuses what is not a number.
template <typename Number>
void require(const char* key, Number value, Number least, Number most) {
  if (!(value >= least && value <= most))
    fail(fmt::format("{}={} must be {} to {}", key, value, least, most));
}

}  // namespace

generator_spec parse_generator_spec(std::string_view text) {
  generator_spec spec;
  std::vector<std::string_view> seen;
  while (!text.empty()) {
    const std::size_t comma = text.find(',');
    const std::string_view item = text.substr(0, comma);
    text.remove_prefix(comma == std::string_view::npos ? text.size() : comma + 1);
    const std::size_t equals = item.find('=');
    if (equals == std::string_view::npos || equals == 0 || equals + 1 == item.size()) {
      fail(fmt::format("\"{}\" must have the form key=value", printable(item, 60)));
    }
    const std::string_view key = item.substr(0, equals);
    if (std::find(seen.begin(), seen.end(), key) != seen.end())
      fail(fmt::format("{} is given twice", printable(key, 60)));
    seen.push_back(key);
    set_field(spec, key, item.substr(equals + 1));
    if (comma != std::string_view::npos && text.empty()) fail("ends with a comma");
  }
  checked(spec);
  return spec;
}

generator_spec checked(generator_spec spec) {
  constexpr std::int64_t variables_max = std::int64_t{1} << 27;
  constexpr std::int64_t billion = 1'000'000'000;
  const model_preset& model = *find_model(spec.model).model;
  spec.layers = spec.layers.value_or(model.layers);
  spec.experts = spec.experts.value_or(model.experts);
  spec.top_k = spec.top_k.value_or(model.top_k);
  require("layers", *spec.layers, 1, 4096);
  require("experts", *spec.experts, 1, 65536);
  require("top_k", *spec.top_k, 1, *spec.experts);
  require("cv", spec.cv, 0.0, 3.0);
  require("drift", spec.drift, 0.0, 1.0);
  require("domains", spec.domains, 1, 64);
  require<std::int64_t>("domain_steps", spec.domain_steps, 1, billion);
  require<std::int64_t>("tokens_per_step", spec.tokens_per_step, 1, std::int64_t{1} << 24);
  require<std::int64_t>("steps", spec.steps, 1, billion);
  if (spec.shape > marginal::uniform)
    fail(fmt::format("marginal {} is unknown", static_cast<int>(spec.shape)));
  const double most = noise_max({spec.tokens_per_step, *spec.top_k}, *spec.experts);
  if (!(spec.noise >= 0 && spec.noise <= most)) {
    fail(fmt::format("noise={} must be 0 to {:.1f} with {} tokens per step, top-{} of {} experts",
                     spec.noise, most, spec.tokens_per_step, *spec.top_k, *spec.experts));
  }
  const std::int64_t variables = std::int64_t{*spec.layers} * *spec.experts * (spec.domains + 1);
  if (variables > variables_max) {
    fail(fmt::format("layers={}, experts={} and domains={} need {} variables, at most {} are kept",
                     *spec.layers, *spec.experts, spec.domains, variables, variables_max));
  }
  return spec;
}

std::string to_string(const generator_spec& spec) {
  std::string shape = fmt::format("model={}", spec.model);
  if (spec.layers) shape += fmt::format(",layers={}", *spec.layers);
  if (spec.experts) shape += fmt::format(",experts={}", *spec.experts);
  if (spec.top_k) shape += fmt::format(",top_k={}", *spec.top_k);
  return fmt::format(
      "{},marginal={},cv={},drift={},domains={},domain_steps={},tokens_per_step={},noise={},steps={"
      "},seed={}",
      shape, to_string(spec.shape), spec.cv, spec.drift, spec.domains, spec.domain_steps,
      spec.tokens_per_step, spec.noise, spec.steps, spec.seed);
}

}  // namespace ballast
