#include "jobs/plan/inputs.hpp"

#include <fmt/format.h>

#include <memory>
#include <span>
#include <stdexcept>

#include "jobs/exit_code.hpp"
#include "jobs/loads/generator.hpp"
#include "jobs/loads/models.hpp"
#include "jobs/loads/trace.hpp"

namespace ballast {
namespace {

// The steps of `all` in windows of --series-steps.
void split_into_windows(const plan_options& options, step_window all, plan_inputs& inputs) {
  const std::int64_t steps = all.last - all.first;
  inputs.window_steps = options.series ? options.series_steps : steps;
  const std::int64_t windows = steps / inputs.window_steps;
  if (windows * inputs.window_steps != steps) {
    throw std::invalid_argument(
        fmt::format("--series-steps is {}, but {} steps are no multiple of it; choose them with "
                    "--window A:B",
                    options.series_steps, steps));
  }
  constexpr std::int64_t most = std::int64_t{1} << 24;
  if (windows > most) {
    throw std::invalid_argument(fmt::format(
        "--series of {} windows, more than {}; --series-steps makes fewer of them", windows, most));
  }
  inputs.windows = static_cast<std::int32_t>(windows);
}

void read_loads(const plan_options& options, plan_inputs& inputs) {
  if (options.loads.empty() == options.generate.empty()) {
    throw job_error(exit_code::usage, "give either --loads FILE or --generate SPEC");
  }
  const std::unique_ptr<load_source> source =
      options.loads.empty() ? make_generator(options.generate) : open_trace(options.loads);
  inputs.layers = source->layers();
  inputs.experts = source->experts();
  const step_window all = parse_window(options.window, source->steps());
  split_into_windows(options, all, inputs);
  const std::size_t cells = static_cast<std::size_t>(inputs.layers) * inputs.experts;
  inputs.loads.resize(cells * static_cast<std::size_t>(inputs.windows));
  for (std::int32_t i = 0; i < inputs.windows; ++i) {
    const std::int64_t first = all.first + i * inputs.window_steps;
    sum_window(*source, {first, first + inputs.window_steps},
               std::span(inputs.loads).subspan(static_cast<std::size_t>(i) * cells, cells));
  }
}

void use_model(const plan_options& options, plan_inputs& inputs) {
  inputs.groups = options.groups > 0 ? options.groups : 1;
  inputs.expert_bytes = options.expert_bytes;
  if (options.model.empty()) return;
  const model_choice choice = find_model(options.model);
  if (choice.model->experts != inputs.experts) {
    throw std::invalid_argument(fmt::format("--model {} has {} experts, the loads {}",
                                            options.model, choice.model->experts, inputs.experts));
  }
  if (options.groups == 0) inputs.groups = choice.model->groups;
  if (options.expert_bytes == 0) inputs.expert_bytes = choice.expert_bytes;
}

}  // namespace

plan_inputs read_plan_inputs(const plan_options& options) {
  plan_inputs inputs;
  read_loads(options, inputs);
  use_model(options, inputs);
  if (!options.current.empty()) inputs.current = read_placement_file(options.current);
  return inputs;
}

}  // namespace ballast
