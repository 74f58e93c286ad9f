// `ballast bench route`: the time to find the slot of an id, in every mode, beside a bare table
// look-up.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <memory>

#include "jobs/bench/bench.hpp"
#include "jobs/bench/id_bench.hpp"
#include "jobs/bench/samples.hpp"
#include "jobs/bench/table.hpp"

namespace ballast {
namespace {

struct route_bench_options {
  bench_output output;
  std::int64_t tokens = 65536;
  std::int32_t columns = 8;
  std::int32_t experts = 256;
};

constexpr std::int32_t share_total = 65536;
constexpr const char* mode_names[] = {"shares", "local", "round_robin", "uniform",
                                      "rank_invariant"};

// Half as many slots again as experts. The low half of the experts has two replicas, with a quarter
// and three quarters of the tokens.
struct routed_placement {
  std::vector<std::int32_t> experts;
  std::vector<std::int32_t> shares;
  std::int32_t slots_per_rank;
};

routed_placement make_placement(std::int32_t experts, int ranks) {
  routed_placement p;
  const std::int32_t twice = std::max(1, experts / 2);
  p.slots_per_rank = (experts + twice + ranks - 1) / ranks;
  p.experts.assign(static_cast<std::size_t>(p.slots_per_rank) * ranks, -1);
  p.shares.assign(p.experts.size(), 0);
  for (std::int32_t slot = 0; slot < experts + twice; ++slot) {
    p.experts[slot] = slot % experts;
    p.shares[slot] = slot >= experts ? share_total / 4 * 3
                     : slot < twice  ? share_total / 4
                                     : share_total;
  }
  return p;
}

class route_judge {
 public:
  route_judge(const mpi_session& mpi, ballast_context* context, std::int32_t experts)
      : mpi_(mpi), experts_(experts) {
    tables_.struct_size = sizeof(tables_);
    check(ballast_tables(context, 0, &tables_));
    check(ballast_shape(context, nullptr, nullptr, nullptr, &rows_per_rank_));
  }

  /// Ids whose slot holds another expert, or is far where a near one is to be preferred; and tokens
  /// beyond what a replica's share allows.
  template <typename Id>
  std::int64_t wrong(const std::vector<Id>& ids, const std::vector<Id>& slots, int mode) const {
    const std::int32_t slot_count = rows_per_rank_ * mpi_.size();
    std::vector<std::int64_t> of_slot(static_cast<std::size_t>(slot_count), 0);
    std::int64_t wrong = 0;
    for (std::size_t i = 0; i < ids.size(); ++i) {
      const Id slot = slots[i];
      if (slot < 0 || slot >= slot_count || tables_.expert_of_slot[slot] != ids[i]) {
        ++wrong;
      } else {
        ++of_slot[static_cast<std::size_t>(slot)];
      }
    }
    for (std::int32_t expert = 0; expert < experts_; ++expert)
      wrong += mode == BALLAST_ROUTE_LOCAL ? far(expert, of_slot) : uneven(expert, of_slot, mode);
    return wrong;
  }

 private:
  std::int64_t far(std::int32_t expert, const std::vector<std::int64_t>& of_slot) const {
    std::int64_t here = 0;
    std::int64_t elsewhere = 0;
    bool has_here = false;
    for (std::int32_t k = tables_.replica_first[expert]; k < tables_.replica_first[expert + 1];
         ++k) {
      const std::int32_t slot = tables_.replica_slot[k];
      const bool is_here = slot / rows_per_rank_ == mpi_.rank();
      has_here |= is_here;
      (is_here ? here : elsewhere) += of_slot[slot];
    }
    return has_here ? elsewhere : 0;
  }

  // Six standard deviations of independent draws, and two tokens for small numbers. Round robin and
  // uniform know no shares.
  std::int64_t uneven(std::int32_t expert, const std::vector<std::int64_t>& of_slot,
                      int mode) const {
    const std::int32_t first = tables_.replica_first[expert];
    const std::int32_t end = tables_.replica_first[expert + 1];
    double tokens = 0;
    for (std::int32_t k = first; k < end; ++k)
      tokens += static_cast<double>(of_slot[tables_.replica_slot[k]]);
    const bool equal = mode == BALLAST_ROUTE_ROUND_ROBIN || mode == BALLAST_ROUTE_UNIFORM;
    std::int64_t wrong = 0;
    for (std::int32_t k = first, before = 0; k < end; before = tables_.replica_share_end[k++]) {
      const double part =
          equal ? 1.0 / (end - first)
                : (tables_.replica_share_end[k] - before) / static_cast<double>(share_total);
      const double bound = 6 * std::sqrt(tokens * part * (1 - part)) + 2;
      const double excess =
          std::abs(static_cast<double>(of_slot[tables_.replica_slot[k]]) - tokens * part) - bound;
      if (excess > 0) wrong += static_cast<std::int64_t>(excess) + 1;
    }
    return wrong;
  }

  const mpi_session& mpi_;
  std::int32_t experts_;
  ballast_layer_tables tables_;
  std::int32_t rows_per_rank_ = 0;
};

// Ranks whose slots differ from rank 0's.
template <typename Id>
std::int64_t differs_from_rank_0(const mpi_session& mpi, const std::vector<Id>& slots) {
  std::vector<Id> first = slots;
  MPI_Bcast(first.data(), static_cast<int>(first.size() * sizeof(Id)), MPI_BYTE, 0, mpi.comm());
  return first != slots;
}

template <typename Id>
void measure(const mpi_session& mpi, ballast_context* context, const id_shape& shape,
             bench_table& table) {
  const route_judge judge(mpi, context, shape.experts);
  const std::vector<Id> ids =
      make_router_ids<Id>(shape, 1);  // the same on all ranks, for rank_invariant
  const ballast_ids call = to_call(ids, shape);
  std::vector<Id> slots(ids.size());
  ballast_layer_tables tables;
  tables.struct_size = sizeof(tables);
  check(ballast_tables(context, 0, &tables));
  const int repetitions = repetitions_for(static_cast<std::int64_t>(ids.size()) * 8);
  for (int mode = BALLAST_ROUTE_SHARES; mode <= BALLAST_ROUTE_RANK_INVARIANT; ++mode) {
    samples route;
    samples look_up;
    ballast_status status = BALLAST_OK;
    MPI_Barrier(mpi.comm());
    for (int round = -1; round < repetitions; ++round) {  // the first is not counted
      if (round == 0) route = look_up = {};
      look_up.add(seconds_of([&] {
        for (std::size_t i = 0; i < ids.size(); ++i)
          slots[i] = tables.replica_slot[tables.replica_first[ids[i]]];
      }));
      route.add(seconds_of([&] { status = ballast_route(context, 0, &call, mode, slots.data()); }));
      check(status);
    }
    std::int64_t wrong = judge.wrong(ids, slots, mode);
    if (mode == BALLAST_ROUTE_RANK_INVARIANT) wrong += differs_from_rank_0(mpi, slots);
    double slowest[] = {route.min(), route.median(), look_up.median()};
    MPI_Allreduce(MPI_IN_PLACE, slowest, 3, MPI_DOUBLE, MPI_MAX, mpi.comm());
    MPI_Allreduce(MPI_IN_PLACE, &wrong, 1, MPI_INT64_T, MPI_SUM, mpi.comm());
    const double per_id = 1e9 / static_cast<double>(ids.size());
    table.add({std::string(mode_names[mode]), std::string(sizeof(Id) == 8 ? "int64" : "int32"),
               slowest[1] * 1e6, slowest[0] * per_id, slowest[1] * per_id, slowest[2] * per_id},
              wrong);
  }
}

exit_code run_route_bench(const mpi_session& mpi, const route_bench_options& options) {
  const id_shape shape = {options.tokens, options.columns, options.experts};
  const routed_placement placement = make_placement(options.experts, mpi.size());
  ballast_config config;
  ballast_config_init(&config);
  config.experts = options.experts;
  config.slots_per_rank = placement.slots_per_rank;
  config.mode = BALLAST_MODE_STATIC;
  config.compatible =
      mpi.size() == 1;  // both replicas on the one rank, which no other placement may have
  config.placement = placement.experts.data();
  config.shares = placement.shares.data();
  const weightless_model model(mpi, config);

  bench_table table("route", options.output, mpi.rank() == 0,
                    {{"mode", "", "mode", 14, 0},
                     {"type", "", "type", 5, 0},
                     {"route", "us", "route_us", 9, 1},
                     {"min", "ns/id", "min_ns_per_id", 8, 3},
                     {"median", "ns/id", "median_ns_per_id", 8, 3},
                     {"look-up", "ns/id", "look_up_ns_per_id", 8, 3}});
  table.parameter("tokens", options.tokens);
  table.parameter("top_k", options.columns);
  table.parameter("experts", options.experts);
  table.parameter("slots_per_rank", placement.slots_per_rank);
  table.parameter("replicas",
                  "two, of a quarter and three quarters, for the low half of the experts");
  table.parameter("look-up", "slots[i] = slot[first[ids[i]]], the least that any routing does");
  table.ranks(mpi);
  measure<std::int32_t>(mpi, model.context(), shape, table);
  measure<std::int64_t>(mpi, model.context(), shape, table);
  exit_code code = exit_code::ok;
  together(mpi, [&] { code = table.finish(); });
  return code;
}

}  // namespace

void add_route_bench(CLI::App& bench, command_body& run) {
  auto o = std::make_shared<route_bench_options>();
  CLI::App* route = bench.add_subcommand("route", "Time of ballast_route per id, in every mode.");
  route->add_option("--tokens", o->tokens, "Tokens of a call")
      ->check(CLI::Range(1, 1 << 24))
      ->capture_default_str();
  route->add_option("--top-k", o->columns, "Ids per token")
      ->check(CLI::Range(1, 64))
      ->capture_default_str();
  route->add_option("--experts", o->experts, "Experts")
      ->check(CLI::Range(2, 65536))
      ->capture_default_str();
  add_output_options(*route, o->output);
  route->footer(
      "#wrong counts ids whose slot holds another expert, tokens of a replica beyond its share by "
      "six standard deviations, with local those\n"
      "sent away from a replica on this rank, and with rank_invariant ranks that chose otherwise "
      "than rank 0.\n"
      "Example:\n  mpirun -np 2 ballast bench route --json route.json");
  route->callback([&run, o] {
    run = [o] {
      return run_mpi_job([&](const mpi_session& mpi) { return run_route_bench(mpi, *o); });
    };
  });
}

}  // namespace ballast
