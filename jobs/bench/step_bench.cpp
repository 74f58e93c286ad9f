// `ballast bench step`: what a step costs, idle and while an epoch is in flight.
#include <fmt/format.h>

#include <memory>

#include "jobs/bench/bench.hpp"
#include "jobs/bench/device_benches.hpp"
#include "jobs/bench/moving_model.hpp"
#include "jobs/bench/samples.hpp"
#include "jobs/bench/step_measure.hpp"

namespace ballast {
namespace {

constexpr int calls_per_batch = 1000;
constexpr const char* phase_names[] = {"idle", "reduce", "plan", "exchange", "drain"};

// Quantiles in us, the largest of any rank; the calls are this rank's.
void add_row(const mpi_session& mpi, bench_table& table, const std::string& state,
             std::int64_t calls, const samples& us, std::int64_t wrong) {
  double q[] = {us.min(), us.median(), us.quantile(0.99), us.max()};
  MPI_Allreduce(MPI_IN_PLACE, q, 4, MPI_DOUBLE, MPI_MAX, mpi.comm());
  MPI_Allreduce(MPI_IN_PLACE, &wrong, 1, MPI_INT64_T, MPI_SUM, mpi.comm());
  table.add({state, calls, q[0], q[1], q[2], q[3]}, wrong);
}

moving_model_shape shape_of(const step_bench_options& options) {
  return {options.layers, options.experts, 0, {static_cast<std::size_t>(options.expert_kib) << 10}};
}

}  // namespace

ballast_config step_config(const step_bench_options& options) {
  ballast_config config;
  ballast_config_init(&config);
  config.consensus_lag = options.lag;
  return config;
}

// No epoch is due: the calls are timed 1000 at a time, so that reading the clock does not count.
void measure_idle_steps(const mpi_session& mpi, const step_bench_options& options,
                        ballast_context* context, bench_table& table) {
  samples us;
  us.reserve(static_cast<std::size_t>(options.batches));
  int failed = 0;
  for (int batch = -1; batch < options.batches; ++batch) {  // the first is not counted
    const double seconds = seconds_of([&] {
      for (int call = 0; call < calls_per_batch; ++call) failed |= ballast_step(context, nullptr);
    });
    if (batch >= 0) us.add(seconds * 1e6 / calls_per_batch);
  }
  if (failed != 0) throw job_error(exit_code::internal, ballast_last_error());
  ballast_step_result last;
  last.struct_size = sizeof(last);
  check(ballast_step(context, &last));
  ballast_counters counters;
  counters.struct_size = sizeof(counters);
  check(ballast_read_counters(context, &counters));
  const std::int64_t expected = std::int64_t{calls_per_batch} * (options.batches + 1);
  const std::int64_t wrong = (last.step != expected) + (last.phase != BALLAST_PHASE_IDLE) +
                             (last.tables_changed != 0) + (counters.epochs != 0);
  add_row(mpi, table, "idle", std::int64_t{calls_per_batch} * options.batches, us, wrong);
}

// Every call from the trigger to the close of an epoch, by the phase it ends in; the close counts
// to the phase before.
void measure_steps_in_flight(const mpi_session& mpi, const step_bench_options& options,
                             const moving_context& model, bench_table& table) {
  samples by_phase[std::size(phase_names)];
  samples all;
  std::int64_t wrong = 0;
  for (int epoch = 0; epoch < options.epochs; ++epoch) {
    model.record();
    ballast_step_result result;
    result.struct_size = sizeof(result);
    result.phase = BALLAST_PHASE_IDLE;
    do {
      const int before = result.phase;
      ballast_status status = BALLAST_OK;
      const double us = 1e6 * seconds_of([&] { status = ballast_step(model.context, &result); });
      check(status);
      if (result.phase == BALLAST_PHASE_IDLE && before == BALLAST_PHASE_IDLE) continue;
      by_phase[result.phase == BALLAST_PHASE_IDLE ? before : result.phase].add(us);
      all.add(us);
    } while (result.epoch_closed == 0);
    ballast_epoch report;
    report.struct_size = sizeof(report);
    check(ballast_epoch_report(model.context, 0, &report));
    // Alone, a rank has nothing to receive, and most epochs decide to do nothing.
    wrong += report.outcome != BALLAST_OUTCOME_COMMITTED &&
             !(mpi.size() == 1 && report.outcome == BALLAST_OUTCOME_UNCHANGED);
  }
  wrong += model.wrong();
  for (std::size_t phase = BALLAST_PHASE_REDUCE; phase < std::size(phase_names); ++phase) {
    std::int64_t calls = static_cast<std::int64_t>(by_phase[phase].size());
    MPI_Allreduce(MPI_IN_PLACE, &calls, 1, MPI_INT64_T, MPI_MAX, mpi.comm());
    if (calls > 0) add_row(mpi, table, phase_names[phase], calls, by_phase[phase], 0);
  }
  add_row(mpi, table, "in flight", static_cast<std::int64_t>(all.size()), all, wrong);
}

namespace {

void measure_on_host(const mpi_session& mpi, const step_bench_options& options,
                     bench_table& table) {
  {
    ballast_config config = step_config(options);
    config.mode = BALLAST_MODE_STATIC;
    const moving_model model(mpi, shape_of(options), config);
    measure_idle_steps(mpi, options, model.context(), table);
  }
  moving_model model(mpi, shape_of(options), step_config(options));
  measure_steps_in_flight(
      mpi, options,
      {model.context(), [&] { model.record_other_half(); }, [&] { return model.wrong_bytes(); }},
      table);
}

exit_code run_step_bench(const mpi_session& mpi, const step_bench_options& options) {
  if (options.backend == "cuda") require_devices(mpi);
  bench_table table("step", options.output, mpi.rank() == 0,
                    {{"state", "", "state", 10, 0},
                     {"calls", "", "calls", 9, 0},
                     {"min", "us", "min_us", 9, 4},
                     {"median", "us", "median_us", 9, 4},
                     {"p99", "us", "p99_us", 9, 4},
                     {"max", "us", "max_us", 9, 1}});
  table.parameter("backend", options.backend);
  table.parameter("layers", options.layers);
  table.parameter("experts", options.experts);
  table.parameter("expert_kib", options.expert_kib);
  table.parameter("epochs", options.epochs);
  table.parameter("lag", options.lag);
  table.parameter(
      "idle",
      fmt::format("{} batches of {} calls; min, median, p99 and max are of batches, per call",
                  options.batches, calls_per_batch));
  table.parameter(
      "others",
      "single calls in a tight loop, by the phase they end in; with the time to read the clock");
  table.ranks(mpi);
  if (options.backend == "cuda") {
    measure_device_steps(mpi, options, table);
  } else {
    measure_on_host(mpi, options, table);
  }
  exit_code code = exit_code::ok;
  together(mpi, [&] { code = table.finish(); });
  return code;
}

}  // namespace

void add_step_bench(command& bench, command_body& run) {
  auto o = std::make_shared<step_bench_options>();
  command* step =
      bench.add_subcommand("step", "Cost of ballast_step, idle and while an epoch is in flight.");
  step->add_option("--backend", o->backend, "host, cuda")
      ->check(one_of({"host", "cuda"}))
      ->capture_default_str();
  step->add_option("--batches", o->batches, "Batches of 1000 idle steps")
      ->check(range(1, 10000000))
      ->capture_default_str();
  step->add_option("--epochs", o->epochs, "Epochs to step through")
      ->check(range(1, 100000))
      ->capture_default_str();
  step->add_option("--layers", o->layers, "Layers")->check(range(1, 4096))->capture_default_str();
  step->add_option("--experts", o->experts, "Experts per layer")
      ->check(range(2, 4096))
      ->capture_default_str();
  step->add_option("--expert-kib", o->expert_kib, "Size of an expert")
      ->check(range(1, 1 << 20))
      ->capture_default_str();
  step->add_option("--lag", o->lag, "Steps between posting and reading a vote")
      ->check(range(1, 16))
      ->capture_default_str();
  add_output_options(*step, o->output);
  step->footer(
      "#wrong counts idle steps that did anything, epochs that did not end as they must, and wrong "
      "bytes after them.\n"
      "Example:\n  mpirun -np 2 ballast bench step --json step.json\n"
      "  mpirun -np 2 ballast bench step --backend cuda --layers 58 --expert-kib 4096");
  step->callback([&run, o] {
    run = [o] {
      return run_mpi_job([&](const mpi_session& mpi) { return run_step_bench(mpi, *o); });
    };
  });
}

}  // namespace ballast
