#include "jobs/replay/setup.hpp"

#include <fmt/format.h>

#include <filesystem>
#include <iterator>
#include <map>
#include <stdexcept>

#include "jobs/loads/generator.hpp"
#include "jobs/loads/models.hpp"
#include "jobs/loads/trace.hpp"
#include "jobs/objective.hpp"
#include "jobs/option_names.hpp"
#include "jobs/placement_file.hpp"
#include "jobs/replay/ffn.hpp"

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

// What a placement file says, checked against the shape.
placement_file read_initial(const std::string& path, const replay_shape& shape, int ranks) {
  placement_file file = read_placement_file(path);
  const auto compare = [&](const char* field, std::int64_t in_file, std::int64_t wanted) {
    if (in_file != wanted)
      throw std::invalid_argument(
          fmt::format("{}: {} is {}, this job has {}", path, field, in_file, wanted));
  };
  compare("layers", file.layers, shape.layers);
  compare("experts", file.experts, shape.experts);
  compare("ranks", file.ranks, ranks);
  compare("slots_per_rank", file.slots_per_rank, shape.slots_per_rank);
  return file;
}

// What a rank serves of one layer: shares by expert.
using served_experts = std::map<std::int32_t, std::int32_t>;

// Takes one expert from `rank` that other ranks serve too, and gives its share to the first of
// them; false if there is none.
bool give_up_a_replica(std::vector<served_experts>& ranks, std::size_t rank) {
  for (auto mine = ranks[rank].begin(); mine != ranks[rank].end(); ++mine) {
    for (std::size_t other = 0; other < ranks.size(); ++other) {
      const auto twin = ranks[other].find(mine->first);
      if (other == rank || twin == ranks[other].end()) continue;
      twin->second += mine->second;
      ranks[rank].erase(mine);
      return true;
    }
  }
  return false;
}

// In the middle of an epoch spare rows serve too, so that a rank may serve more experts than it has
// slots. There are enough slots for all experts: where every slot is taken some expert is in two.
void fit_into_slots(std::vector<served_experts>& ranks, std::size_t slots_per_rank) {
  for (std::size_t rank = 0; rank < ranks.size(); ++rank) {
    while (ranks[rank].size() > slots_per_rank) {
      if (give_up_a_replica(ranks, rank)) continue;
      std::size_t room = 0;
      while (room < ranks.size() && ranks[room].size() >= slots_per_rank) ++room;
      for (std::size_t other = 0; room == ranks.size() && other < ranks.size(); ++other) {
        if (ranks[other].size() == slots_per_rank && give_up_a_replica(ranks, other)) room = other;
      }
      if (room == ranks.size()) throw std::logic_error("a layer has more experts than slots");
      ranks[room].insert(ranks[rank].extract(std::prev(ranks[rank].end())));
    }
  }
}

void log_line(void* user, std::int32_t level, const char* text) {
  const auto* mpi = static_cast<const mpi_session*>(user);
  if (level <= BALLAST_LOG_WARNING && (mpi->rank() == 0 || level == BALLAST_LOG_ERROR))
    fmt::print(stderr, "ballast: {}\n", text);
}

}  // namespace

std::unique_ptr<load_source> open_loads(const replay_options& options, int ranks,
                                        replay_shape& shape) {
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
  shape.slots_per_rank =
      options.slots_per_rank > 0 ? options.slots_per_rank : (shape.experts + ranks - 1) / ranks + 1;
  shape.rows_per_rank = shape.slots_per_rank + options.spare_rows;
  if (options.ffn) {
    const ffn_shape ffn = {options.ffn_hidden, options.ffn_intermediate};
    check_ffn_shape(ffn);
    shape.tensor_bytes = ffn_tensor_bytes(ffn);
    shape.expert_bytes = static_cast<std::int64_t>(3 * shape.tensor_bytes[0]);
  } else {
    shape.tensor_bytes = split_expert(shape.expert_bytes);
  }
  return source;
}

void context_deleter::operator()(ballast_context* context) const { ballast_destroy(context); }

context_handle create_context(const mpi_session& mpi, const replay_options& options,
                              const replay_shape& shape, const replay_backend& backend,
                              bool resumes) {
  ballast_config config;
  ballast_config_init(&config);
  placement_file initial;
  together(mpi, [&] {
    if (resumes || !options.placement.empty()) {
      initial = read_initial(resumes ? options.state : options.placement, shape, mpi.size());
      config.placement = initial.experts_of_slots.data();
      config.shares = initial.shares.data();
    }
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
  config.max_moves = options.max_moves;
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

void save_state(const ballast_context* context, const replay_shape& shape,
                const std::string& path) {
  placement_file file;
  file.layers = shape.layers;
  file.experts = shape.experts;
  check(ballast_shape(context, nullptr, nullptr, &file.ranks, nullptr));
  file.slots_per_rank = shape.slots_per_rank;
  ballast_layer_tables tables;
  tables.struct_size = sizeof(tables);
  for (int layer = 0; layer < shape.layers; ++layer) {
    check(ballast_tables(context, layer, &tables));
    std::vector<served_experts> ranks(file.ranks);
    for (int e = 0; e < shape.experts; ++e) {
      for (std::int32_t k = tables.replica_first[e], before = 0; k < tables.replica_first[e + 1];
           ++k) {
        ranks[tables.replica_slot[k] / shape.rows_per_rank][e] +=
            tables.replica_share_end[k] - before;
        before = tables.replica_share_end[k];
      }
    }
    fit_into_slots(ranks, shape.slots_per_rank);
    for (const served_experts& served : ranks) {
      const std::size_t end = file.experts_of_slots.size() + shape.slots_per_rank;
      for (const auto& [expert, share] : served) {
        file.experts_of_slots.push_back(expert);
        file.shares.push_back(share);
      }
      file.experts_of_slots.resize(end, -1);
      file.shares.resize(end, 0);
    }
  }
  write_placement_file(path, file);
}

}  // namespace ballast
