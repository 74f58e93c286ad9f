// `ballast bench route`: the time to find the slot of an id, in every mode, beside a bare table
// look-up.
#include <fmt/format.h>

#include <algorithm>
#include <memory>

#include "jobs/bench/bench.hpp"
#include "jobs/bench/device_benches.hpp"
#include "jobs/bench/id_bench.hpp"
#include "jobs/bench/route_judge.hpp"
#include "jobs/bench/samples.hpp"
#include "jobs/bench/table.hpp"

namespace ballast {
namespace {

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
    table.add(
        {std::string(route_mode_names[mode]), std::string(sizeof(Id) == 8 ? "int64" : "int32"),
         slowest[1] * 1e6, slowest[0] * per_id, slowest[1] * per_id, slowest[2] * per_id},
        wrong);
  }
}

exit_code run_route_bench(const mpi_session& mpi, const route_bench_options& options) {
  if (options.backend == "cuda") return run_device_route_bench(mpi, options);
  const id_shape shape = {options.tokens, options.columns, options.experts};
  const routed_placement placement = make_placement(options.experts, mpi.size());
  const ballast_config config = route_config(placement, options.experts, mpi.size());
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

void add_route_bench(command& bench, command_body& run) {
  auto o = std::make_shared<route_bench_options>();
  command* route = bench.add_subcommand("route", "Time of ballast_route per id, in every mode.");
  route->add_option("--backend", o->backend, "host, cuda")
      ->check(one_of({"host", "cuda"}))
      ->capture_default_str();
  route->add_option("--tokens", o->tokens, "Tokens of a call")
      ->check(range(1, 1 << 24))
      ->capture_default_str();
  route->add_option("--top-k", o->columns, "Ids per token")
      ->check(range(1, 64))
      ->capture_default_str();
  route->add_option("--experts", o->experts, "Experts")
      ->check(range(2, 65536))
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
