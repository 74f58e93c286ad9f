// A context's way from its configuration to its first step: what ranks compare and what they build.
#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <limits>
#include <system_error>

#include "policies/digest.hpp"
#include "runtime/agreement.hpp"
#include "runtime/error.hpp"
#include "runtime/runtime.hpp"
#include "topology/hwloc_node.hpp"

namespace ballast {
namespace {

plan_limits limits_of(const ballast_config& c) {
  plan_limits limits{c.max_moves, c.max_bytes, c.max_moves_total, {}};
  std::ranges::copy(c.max_bytes_per_link, limits.max_bytes_per_link.begin());
  return limits;
}

log_sink make_log(const ballast_config& config, int rank) {
  if (config.log != nullptr) {
    return [log = config.log, user = config.log_user](std::int32_t level, const std::string& text) {
      log(user, level, text.c_str());
    };
  }
  return [rank](std::int32_t level, const std::string& text) {
    if (level <= BALLAST_LOG_WARNING && (rank == 0 || level == BALLAST_LOG_ERROR)) {
      std::fprintf(stderr, "ballast: %s\n", text.c_str());
    }
  };
}

std::int64_t digest_of(const cluster_map& map) {
  digest_builder digest;
  for (const rank_place& p : map.ranks) {
    digest.absorb(
        std::vector<std::int32_t>{p.node, p.island, p.local_rank, p.package, p.numa, p.gpu, p.nic});
  }
  digest.absorb(map.cost_ns_per_mib);
  return static_cast<std::int64_t>(digest.value());
}

constexpr double default_deadline_seconds = 30;  // where none that can be used is given

double deadline_of(const ballast_config& config) {
  const bool usable = config.deadline_seconds >= 0.1 && config.deadline_seconds <= 1e6;
  return usable ? config.deadline_seconds : default_deadline_seconds;
}

int checked_size(MPI_Comm comm) {
  int size = 0;
  BALLAST_MPI(MPI_Comm_size(comm, &size));
  return size;
}

}  // namespace

runtime::runtime(const ballast_config& config, MPI_Comm comm, const verdict& arguments)
    : vote_comm_(mpi_comm::duplicate(comm, "ballast votes", deadline_of(config))),
      weight_comm_(mpi_comm::duplicate(comm, "ballast weights", deadline_of(config))),
      rank_(vote_comm_.rank()),
      ranks_(checked_size(vote_comm_.get())),
      log_(make_log(config, rank_)) {
  // Nothing may throw alone here: the verdict travels with the first exchange.
  const double deadline = deadline_of(config);
  const verdict mine = verdict_of([&] {
    if (arguments.status != BALLAST_OK) throw error(arguments.status, arguments.text);
    if (const std::string why = why_thread_level_is_too_low(); !why.empty())
      log_(BALLAST_LOG_WARNING, why);
    settings_ = settings::read(config, ranks_);
    if (config.topology != nullptr && config.topology->found.map.rank_count() != ranks_) {
      throw error(BALLAST_ERROR_INVALID_ARGUMENT,
                  fmt::format("topology has {} ranks, the communicator {}",
                              config.topology->found.map.rank_count(), ranks_));
    }
    live_.emplace(settings_.initial);
    backend_ = make_backend(settings_, *live_, weight_comm_.get(), rank_, log_);
    backend_->memory().limit_rows(settings_.rows_per_layer());
  });
  agree(vote_comm_.get(), mine,
        mine.status == BALLAST_OK ? settings_.agreed_fields() : std::vector<agreed_field>(),
        deadline);
  const bool given = config.topology != nullptr;
  agree(vote_comm_.get(), {},
        {{"topology (given or not)", given},
         {"topology (digest)", given ? digest_of(config.topology->found.map) : 0}},
        deadline);
  topology_ = config.topology != nullptr ? config.topology->found
                                         : discover(vote_comm_.get(), "", 0, deadline);
  if (!given) {
    agree(vote_comm_.get(), verdict_of([&] { backend_->refine(topology_.map); }), {},
          2 * deadline);  // a rank may have waited its whole deadline for one that failed
  }
  agree(vote_comm_.get(),
        verdict_of([&] { require_plannable(settings_.initial, settings_.marks); }), {}, deadline);
}

// What the policy can never plan is refused here, not epoch after epoch.
void runtime::require_plannable(const placement& current, const rank_marks& marks) const {
  const ballast_config& c = settings_.config;
  if (c.mode == BALLAST_MODE_STATIC) return;
  const std::vector<std::int64_t> no_loads(static_cast<std::size_t>(c.layers) * c.experts);
  plan_request request;
  request.loads = no_loads;
  request.current = &current;
  request.cluster = &topology_.map;
  request.usable_slots = usable_slots();
  request.slots_per_layer = settings_.slots_per_layer;
  request.spare_rows = c.spare_rows;
  request.rank_speed = marks.speed;
  request.masked_ranks = marks.masked;
  request.policy = settings_.policy;
  request.plugin = settings_.plugin;
  request.objective = static_cast<plan_objective>(c.objective);
  request.compatible = c.compatible != 0;
  request.groups = c.groups;
  request.limits = limits_of(c);
  request.equal_shares = c.equal_shares != 0;
  if (const std::string why = why_unplannable(request); !why.empty()) {
    throw error(BALLAST_ERROR_INVALID_ARGUMENT,
                fmt::format("policy {}: {}", settings_.policy, why));
  }
}

// A compatible plan wants exactly the published shape; spare rows are not part of it.
std::vector<std::int32_t> runtime::usable_slots() const {
  const ballast_config& c = settings_.config;
  return c.compatible == 0 || c.spare_rows > 0 ? settings_.usable_slots
                                               : std::vector<std::int32_t>();
}

void runtime::register_layer(int layer, std::span<const ballast_tensor> tensors) {
  if (balancer_ || start_failed_)
    throw error(BALLAST_ERROR_STATE, "ballast_register_layer after ballast_start");
  backend_->memory().register_layer(layer, tensors);
}

void* runtime::allocate_rows(std::size_t bytes) {
  if (balancer_ || start_failed_)
    throw error(BALLAST_ERROR_STATE, "ballast_alloc after ballast_start");
  return backend_->allocate_rows(bytes);
}

void runtime::start() {
  if (balancer_ || start_failed_)
    throw error(BALLAST_ERROR_STATE, "ballast_start was called before");
  start_failed_ = true;  // until the end is reached
  const ballast_config& c = settings_.config;
  const verdict mine = verdict_of([&] {
    if (const int missing = backend_->memory().first_missing_layer(); missing >= 0) {
      throw error(BALLAST_ERROR_STATE, fmt::format("layer {} has no registered tensors", missing));
    }
    backend_->allocate();
  });
  agree(vote_comm_.get(), mine, {}, c.deadline_seconds);
  compare_shapes();
  compare_weights();
  agree(vote_comm_.get(), verdict_of([&] { backend_->connect(topology_.map); }), {},
        2 * c.deadline_seconds);  // a rank may have waited its whole deadline for one that failed
  const verdict begun = verdict_of([&] {
    start_planner();
    balancer_.emplace(balancer_parts{settings_, vote_comm_.get(), weight_comm_.get(), rank_, ranks_,
                                     *backend_, *live_, *planner_, log_});
  });
  agree(vote_comm_.get(), begun, {}, c.deadline_seconds);
  start_failed_ = false;
}

// Sizes per layer, so that the layer can be named.
void runtime::compare_shapes() {
  const int layers = settings_.config.layers;
  std::vector<std::uint64_t> low(2 * layers);
  for (int layer = 0; layer < layers; ++layer) {
    low[layer] = backend_->memory().shape_digest(layer);
    low[layers + layer] = ~low[layer];
  }
  minimise_over_ranks(vote_comm_.get(), low, settings_.config.deadline_seconds);
  for (int layer = 0; layer < layers; ++layer) {
    if (low[layer] != ~low[layers + layer]) {
      throw error(
          BALLAST_ERROR_CONFIG_MISMATCH,
          fmt::format("layer {}: number or sizes of the tensors differ between ranks", layer));
    }
  }
}

// The hash of every expert from all its replicas, which must be the same bytes.
void runtime::compare_weights() {
  const placement& initial = settings_.initial;
  expert_memory& memory = backend_->memory();
  const std::size_t cells = memory.hashes().size();
  // The lowest hash of each cell, and behind these the complements of the highest.
  std::vector<std::uint64_t> least(2 * cells, std::numeric_limits<std::uint64_t>::max());
  const int first = initial.layout().first(rank_);
  const verdict readable = verdict_of([&] {
    std::vector<std::int32_t> rows;
    std::vector<std::uint64_t> hashes(initial.layout().count(rank_));
    for (int layer = 0; layer < initial.layers(); ++layer) {
      const auto held = initial.experts_of(layer).subspan(first, initial.layout().count(rank_));
      rows.clear();
      for (int row = 0; row < static_cast<int>(held.size()); ++row) {
        if (held[row] != no_expert) rows.push_back(row);
      }
      memory.hash_rows(layer, rows, hashes.data());
      for (std::size_t i = 0; i < rows.size(); ++i) {
        const std::size_t cell =
            static_cast<std::size_t>(layer) * initial.experts() + held[rows[i]];
        least[cell] = std::min(least[cell], hashes[i]);
        least[cells + cell] = std::min(least[cells + cell], ~hashes[i]);
      }
    }
  });
  agree(vote_comm_.get(), readable, {}, settings_.config.deadline_seconds);
  minimise_over_ranks(vote_comm_.get(), least, settings_.config.deadline_seconds);
  for (std::size_t cell = 0; cell < cells; ++cell) {
    if (least[cell] == ~least[cells + cell]) continue;
    const int layer = static_cast<int>(cell / initial.experts());
    const int expert = static_cast<int>(cell % initial.experts());
    std::string ranks;
    for (int slot = 0; slot < initial.slots(); ++slot) {
      if (initial.experts_of(layer)[slot] == expert)
        ranks += fmt::format("{}{}", ranks.empty() ? "" : ", ", initial.layout().rank_of(slot));
    }
    throw error(BALLAST_ERROR_CONFIG_MISMATCH,
                fmt::format("layer {}, expert {}: its replicas on ranks {} hold different bytes",
                            layer, expert, ranks));
  }
  std::copy_n(least.begin(), cells, memory.hashes().begin());
}

void runtime::start_planner() {
  const ballast_config& c = settings_.config;
  planner_settings p;
  p.rank = rank_;
  p.cluster = topology_.map;
  p.policy = settings_.policy;
  p.plugin = settings_.plugin;
  p.objective = static_cast<plan_objective>(c.objective);
  p.compatible = c.compatible != 0;
  p.groups = c.groups;
  p.seed = c.seed;
  p.threads = c.planner_threads;
  p.usable_slots = usable_slots();
  p.slots_per_layer = settings_.slots_per_layer;
  p.rows_per_layer = settings_.rows_per_layer();
  p.spare_rows = c.spare_rows;
  p.marks = settings_.marks;
  p.limits = limits_of(c);
  p.moves_saved = c.moves_saved;
  p.equal_shares = c.equal_shares != 0;
  p.expert_bytes = backend_->memory().expert_bytes_max();
  p.staging_rows = c.staging_experts;
  p.receives_per_batch = c.receives_per_batch;
  p.way = static_cast<way_choice>(c.way);
  p.worth = {c.balance_min_permille, c.gain_min_permille};
  p.prediction = {static_cast<prediction_mode>(c.prediction), 0, c.decay_shift};
  p.memory_windows = c.memory_windows;
  p.cells = settings_.cells();
  p.payback = {c.token_ns * ps_per_ns, 1, c.horizon, {}};
  p.past = std::move(settings_.past_windows);

  const rank_place& place = topology_.map.ranks[rank_];
  const node_description& node = topology_.nodes[place.node];
  std::vector<std::int32_t> cpus;
  if (node.this_machine && place.gpu >= 0) cpus = node.gpus[place.gpu].cpus;
  if (node.this_machine && place.gpu < 0 && place.numa >= 0)
    cpus = node.numa_nodes[place.numa].cpus;
  try {
    planner_ = std::make_unique<planner>(std::move(p), std::move(cpus), current_cpu());
  } catch (const std::system_error& e) {
    throw error(BALLAST_ERROR_SYSTEM,
                fmt::format("the planner's thread cannot be started: {}", e.what()));
  }
  log_(BALLAST_LOG_INFO, fmt::format("rank {}: node {}, island {}, planner thread: {}", rank_,
                                     place.node, place.island, planner_->binding()));
}

}  // namespace ballast
