#include "jobs/replay/setup.hpp"

#include <fmt/format.h>

#include <stdexcept>

#include "jobs/loads/generator.hpp"
#include "jobs/loads/models.hpp"
#include "jobs/loads/trace.hpp"
#include "jobs/objective.hpp"
#include "jobs/option_names.hpp"
#include "jobs/plan/slots.hpp"
#include "jobs/replay/ffn.hpp"
#include "jobs/replay/state.hpp"

namespace ballast {
namespace {

constexpr std::int64_t default_expert_bytes = 256 << 10;

// The command line's range check lets NaN through.
std::int32_t permille(const char* option, double value) {
  if (!(value >= 0 && value <= 1))
    throw job_error(exit_code::usage, fmt::format("{} is {}, expected 0 to 1", option, value));
  return static_cast<std::int32_t>(value * 1000 + 0.5);
}

void settle_experts(const replay_options& options, const load_source& source, replay_shape& shape) {
  shape.layers = source.layers();
  if (options.layers > source.layers()) {
    throw std::invalid_argument(fmt::format("--layers is {}, {} has {}", options.layers,
                                            source.describe(), source.layers()));
  }
  if (options.layers > 0) shape.layers = options.layers;
  shape.experts = source.experts();
  if (options.experts > 0 && options.experts != source.experts()) {
    throw std::invalid_argument(fmt::format("--experts is {}, {} has {}", options.experts,
                                            source.describe(), source.experts()));
  }
  shape.top_k = options.top_k > 0 ? options.top_k : std::max(1, source.top_k());
}

void settle_model(const replay_options& options, const load_source& source, replay_shape& shape) {
  shape.groups = options.groups > 0 ? options.groups : 1;
  shape.expert_bytes = options.expert_bytes > 0 ? options.expert_bytes : default_expert_bytes;
  if (options.model.empty()) return;
  const model_choice choice = find_model(options.model);
  if (choice.model->experts != source.experts()) {
    throw std::invalid_argument(fmt::format("--model {} has {} experts, {} has {}", options.model,
                                            choice.model->experts, source.describe(),
                                            source.experts()));
  }
  if (options.groups == 0) shape.groups = choice.model->groups;
  if (options.expert_bytes == 0) shape.expert_bytes = choice.expert_bytes;
}

// The slots of each layer by the loads of the first window.
std::vector<std::int32_t> choose_by_first_window(const replay_options& options, load_source& source,
                                                 int ranks, const replay_shape& shape) {
  const std::int64_t window = options.window > 0 ? options.window : options.interval;
  std::vector<std::int64_t> loads(static_cast<std::size_t>(source.layers()) * source.experts());
  sum_window(source, {0, std::min(window, shape.steps)}, loads);
  ballast_plan_request request;
  ballast_plan_request_init(&request);
  request.layers = shape.layers;  // the source's first
  request.experts = shape.experts;
  request.ranks = ranks;
  request.loads = loads.data();
  request.policy = options.policy.c_str();
  request.compatible = options.compatible;
  request.groups = shape.groups;
  request.objective = objective_of(options.objective);
  request.passes = std::min(window, shape.steps);
  request.equal_shares = options.equal_shares;
  request.threads = options.planner_threads;
  ballast_topology* nodes = nullptr;
  check(ballast_topology_imitate(ranks, options.ranks_per_node > 0 ? options.ranks_per_node : ranks,
                                 nullptr, &nodes));
  const std::unique_ptr<ballast_topology, decltype(&ballast_topology_destroy)> owned(
      nodes, ballast_topology_destroy);
  request.topology = nodes;
  const std::int64_t budget =
      options.slots_budget > 0
          ? options.slots_budget
          : experts_for("--slots-budget-bytes", options.slots_budget_bytes, shape.expert_bytes);
  return choose_slots(request, budget).slots;
}

// As options say or, in a job that begins with a placement file, as that does.
void settle_slots(const replay_options& options, load_source& source, int ranks, bool resumes,
                  replay_shape& shape, std::optional<placement_file>& initial) {
  const bool budgeted = options.slots_budget > 0 || options.slots_budget_bytes > 0;
  shape.slots_per_rank =
      options.slots_per_rank > 0 ? options.slots_per_rank : (shape.experts + ranks - 1) / ranks + 1;
  if (resumes || !options.placement.empty()) {
    const std::string& path = resumes ? options.state : options.placement;
    initial = read_placement_file(path);
    shape.slots_per_layer = initial->slots_per_layer;
    if (budgeted) shape.slots_per_rank = initial->slots_per_rank;
    require_fits(*initial, path, shape, ranks);
  } else if (budgeted) {
    shape.slots_per_layer = choose_by_first_window(options, source, ranks, shape);
    shape.slots_per_rank = most_slots(shape.slots_per_layer);
  }
}

void log_line(void* user, std::int32_t level, const char* text) {
  const auto* mpi = static_cast<const mpi_session*>(user);
  if (level <= BALLAST_LOG_WARNING && (mpi->rank() == 0 || level == BALLAST_LOG_ERROR))
    fmt::print(stderr, "ballast: {}\n", text);
}

}  // namespace

std::unique_ptr<load_source> open_loads(const replay_options& options, int ranks, bool resumes,
                                        replay_shape& shape,
                                        std::optional<placement_file>& initial) {
  if (options.trace.empty() == options.generate.empty()) {
    throw job_error(exit_code::usage, "give either --trace FILE or --generate SPEC");
  }
  std::unique_ptr<load_source> source =
      options.trace.empty() ? make_generator(options.generate) : open_trace(options.trace);
  settle_experts(options, *source, shape);
  settle_model(options, *source, shape);
  shape.steps = options.steps > 0 ? options.steps : source->steps();
  if (shape.steps > source->steps()) {
    throw std::invalid_argument(
        fmt::format("--steps is {}, {} has {}", shape.steps, source->describe(), source->steps()));
  }
  if (options.ffn) {
    const ffn_shape ffn = {options.ffn_hidden, options.ffn_intermediate};
    check_ffn_shape(ffn);
    shape.tensor_bytes = ffn_tensor_bytes(ffn);
    shape.expert_bytes = static_cast<std::int64_t>(3 * shape.tensor_bytes[0]);
  } else {
    shape.tensor_bytes = split_expert(shape.expert_bytes);
  }
  settle_slots(options, *source, ranks, resumes, shape, initial);
  shape.rows_per_rank = shape.slots_per_rank + options.spare_rows;
  return source;
}

void context_deleter::operator()(ballast_context* context) const { ballast_destroy(context); }

context_handle create_context(const mpi_session& mpi, const replay_options& options,
                              const replay_shape& shape, const replay_backend& backend,
                              bool resumes, const std::optional<placement_file>& initial) {
  ballast_config config;
  ballast_config_init(&config);
  if (initial) {
    config.placement = initial->experts_of_slots.data();
    config.shares = initial->shares.data();
  }
  std::vector<std::int64_t> windows;
  together(mpi, [&] {
    if (resumes) windows = read_saved_windows(options.state, shape);
    config.past_window_count = static_cast<std::int32_t>(windows.size() / shape.cells());
    if (!windows.empty()) config.past_windows = windows.data();
    config.mode = index_of("--mode", options.mode, mode_names);
    config.way = index_of("--way", options.way, way_names);
    config.verify = index_of("--verify", options.verify, verify_names);
    config.transport = index_of("--transport", options.transport, transport_names);
    config.prediction = prediction_of(options.prediction);
  });
  // What a rank is to itself needs no transport.
  if (config.transport == BALLAST_TRANSPORT_LOCAL) config.transport = BALLAST_TRANSPORT_AUTO;
  backend.configure(config);
  config.nccl_ctas = options.nccl_ctas;
  config.hash_ctas = options.hash_ctas;
  config.layers = shape.layers;
  config.experts = shape.experts;
  config.slots_per_rank = shape.slots_per_rank;
  config.slots_per_layer = shape.slots_per_layer.empty() ? nullptr : shape.slots_per_layer.data();
  config.spare_rows = options.spare_rows;
  config.groups = shape.groups;
  config.compatible = options.compatible;
  config.equal_shares = options.equal_shares;
  config.objective = objective_of(options.objective);
  config.policy = options.policy.c_str();
  config.consensus_lag = options.lag;
  config.interval = options.interval;
  config.window = options.window;
  config.memory_windows = options.memory_windows;
  config.decay_shift = decay_shift_of(options.prediction);
  config.token_ns = options.token_ns;
  config.horizon = options.horizon;
  config.balance_min_permille = permille("--balance-min", options.balance_min);
  config.gain_min_permille = permille("--gain-min", options.gain_min);
  config.max_moves =
      options.max_moves.of(static_cast<std::int64_t>(mpi.size()) * shape.slots_per_rank);
  config.moves_saved = options.moves_saved;
  config.max_bytes = options.max_bytes;
  config.staging_experts = options.staging_experts;
  config.receives_per_batch = options.receives_per_batch;
  config.bytes_per_step = options.bytes_per_step.value_or(0);
  if (options.bytes_per_step == 0) config.bytes_per_step = -1;  // the library's "unpaced"
  config.planner_threads = options.planner_threads;
  config.seed = options.seed;
  config.deadline_seconds = options.deadline_seconds;
  config.drill = options.drill.empty() ? nullptr : options.drill.c_str();
  config.log = log_line;
  config.log_user = const_cast<mpi_session*>(&mpi);

  std::unique_ptr<ballast_topology, decltype(&ballast_topology_destroy)> topology(
      nullptr, ballast_topology_destroy);
  if (!options.topology.empty() || options.ranks_per_node > 0) {
    ballast_topology* made = nullptr;
    check(ballast_topology_create(mpi.comm(), options.topology.c_str(), options.ranks_per_node,
                                  &made));
    topology.reset(made);
    config.topology = made;
  }
  ballast_context* context = nullptr;
  check(ballast_create(&config, mpi.comm(), &context));
  return context_handle(context);
}

void load_and_start(const mpi_session& mpi, ballast_context* context, const replay_shape& shape,
                    weight_rows& weights) {
  together(mpi, [&] {
    ballast_layer_tables tables;
    tables.struct_size = sizeof(tables);
    for (int layer = 0; layer < shape.layers; ++layer) {
      check(ballast_tables(context, layer, &tables));
      for (int row = 0; row < shape.rows_per_rank; ++row) {
        const std::int32_t expert = tables.expert_of_slot[mpi.rank() * shape.rows_per_rank + row];
        if (expert >= 0) weights.fill(layer, row, expert);
      }
      const std::vector<ballast_tensor> tensors = weights.tensors(layer);
      check(ballast_register_layer(context, layer, tensors.data(),
                                   static_cast<std::int32_t>(tensors.size())));
    }
  });
  check(ballast_start(context));
}

std::string transports(const mpi_session& mpi, const ballast_context* context) {
  int used = 0;
  for (int rank = 0; rank < mpi.size(); ++rank) {
    std::int32_t transport = BALLAST_TRANSPORT_LOCAL;
    check(ballast_transport(context, rank, &transport));
    used |= 1 << transport;
  }
  MPI_Allreduce(MPI_IN_PLACE, &used, 1, MPI_INT, MPI_BOR, mpi.comm());
  std::string text;
  for (int i = 0; i < BALLAST_TRANSPORT_LOCAL; ++i) {
    if ((used >> i & 1) == 0) continue;
    if (!text.empty()) text += '+';
    text += transport_names[i];
  }
  return text.empty() ? "local" : text;
}

}  // namespace ballast
