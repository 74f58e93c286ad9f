#include "jobs/loads/load_source.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <stdexcept>
#include <vector>

namespace ballast {

void load_source::require_step(std::int64_t step, std::size_t out_size) const {
  if (step < 0 || step >= steps()) {
    throw std::invalid_argument(
        fmt::format("step {} is outside the loads' steps 0..{}", step, steps() - 1));
  }
  const auto cells = static_cast<std::size_t>(layers()) * static_cast<std::size_t>(experts());
  if (out_size != cells) {
    throw std::invalid_argument(
        fmt::format("room for {} counts, a step has {} ({} layers x {} experts)", out_size, cells,
                    layers(), experts()));
  }
}

namespace {

std::int64_t parse_bound(std::string_view part, std::string_view whole, std::int64_t if_empty) {
  if (part.empty()) return if_empty;
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(part.data(), part.data() + part.size(), value);
  if (error != std::errc() || end != part.data() + part.size()) {
    throw std::invalid_argument(
        fmt::format("window \"{}\": \"{}\" is not a step number", whole, part));
  }
  return value;
}

void require_window(step_window window, std::string_view name, std::int64_t steps) {
  if (window.first < 0 || window.first >= window.last || window.last > steps) {
    throw std::invalid_argument(fmt::format(
        "window \"{}\" must be A:B with 0 <= A < B <= {}, the number of steps", name, steps));
  }
}

}  // namespace

step_window parse_window(std::string_view text, std::int64_t steps) {
  step_window window{0, steps};
  if (!text.empty()) {
    const std::size_t colon = text.find(':');
    if (colon == std::string_view::npos) {
      throw std::invalid_argument(
          fmt::format("window \"{}\" must have the form A:B (steps A to B-1)", text));
    }
    window.first = parse_bound(text.substr(0, colon), text, 0);
    window.last = parse_bound(text.substr(colon + 1), text, steps);
  }
  require_window(window, text, steps);
  return window;
}

void sum_window(load_source& source, step_window window, std::span<std::int64_t> sums) {
  require_window(window, fmt::format("{}:{}", window.first, window.last), source.steps());
  std::fill(sums.begin(), sums.end(), 0);
  const auto experts = static_cast<std::size_t>(source.experts());
  std::vector<std::int64_t> counts(sums.size());
  std::vector<std::int64_t> layer_sums(static_cast<std::size_t>(source.layers()));
  for (std::int64_t step = window.first; step < window.last; ++step) {
    source.counts(step, counts);
    for (std::size_t layer = 0; layer < layer_sums.size(); ++layer) {
      const auto row = std::span(counts).subspan(layer * experts, experts);
      for (std::size_t expert = 0; expert < experts; ++expert) {
        if (row[expert] > load_max - layer_sums[layer]) {
          throw std::invalid_argument(
              fmt::format("window {}:{}: the loads of layer {} sum to more than 2^62 at step {}",
                          window.first, window.last, layer, step));
        }
        layer_sums[layer] += row[expert];
        sums[layer * experts + expert] += row[expert];
      }
    }
  }
}

}  // namespace ballast
