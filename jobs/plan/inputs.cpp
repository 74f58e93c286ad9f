#include "jobs/plan/inputs.hpp"

#include <fmt/format.h>

#include <memory>
#include <stdexcept>

#include "jobs/exit_code.hpp"
#include "jobs/loads/generator.hpp"
#include "jobs/loads/models.hpp"
#include "jobs/loads/trace.hpp"

namespace ballast {
namespace {

void read_loads(const plan_options& options, plan_inputs& inputs) {
  if (options.loads.empty() == options.generate.empty()) {
    throw job_error(exit_code::usage, "give either --loads FILE or --generate SPEC");
  }
  const std::unique_ptr<load_source> source =
      options.loads.empty() ? make_generator(options.generate) : open_trace(options.loads);
  inputs.layers = source->layers();
  inputs.experts = source->experts();
  inputs.loads.resize(static_cast<std::size_t>(inputs.layers) * inputs.experts);
  const step_window window = parse_window(options.window, source->steps());
  sum_window(*source, window, inputs.loads);
  inputs.steps = window.last - window.first;
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
