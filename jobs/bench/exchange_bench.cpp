// `ballast bench exchange`: the bandwidth of whole epochs of a live context that steps in a tight
// loop, beside a bare ring of the same messages.
#include <fmt/format.h>

#include <algorithm>
#include <memory>

#include "jobs/bench/bench.hpp"
#include "jobs/bench/device_benches.hpp"
#include "jobs/bench/moving_model.hpp"
#include "jobs/bench/ring.hpp"
#include "jobs/bench/samples.hpp"
#include "jobs/bench/table.hpp"
#include "jobs/option_names.hpp"

namespace ballast {
namespace {

struct exchange_case {
  std::int64_t expert_kib;
  std::string way;
  std::string verify;
};

struct epoch_measure {
  double seconds = 0;      // of the slowest rank
  double stall_us = 0;     // the longest step of any rank
  std::int64_t bytes = 0;  // received by all ranks
  std::int64_t most = 0;   // received by one rank
  std::int64_t steps = 0;  // in the exchange phase
  std::int64_t moves = 0;
  bool committed = false;
};

std::vector<std::size_t> split(std::int64_t bytes, int tensors) {
  std::vector<std::size_t> parts(static_cast<std::size_t>(tensors),
                                 static_cast<std::size_t>(bytes / tensors));
  parts[0] += static_cast<std::size_t>(bytes % tensors);
  return parts;
}

// One epoch, from the loads to its report.
epoch_measure run_epoch(const mpi_session& mpi, moving_model& model) {
  epoch_measure m;
  model.record_other_half();
  ballast_step_result result;
  result.struct_size = sizeof(result);
  do {
    check(ballast_step(model.context(), &result));
    m.steps += result.phase == BALLAST_PHASE_EXCHANGE;
  } while (result.epoch_closed == 0);
  ballast_epoch epoch;
  epoch.struct_size = sizeof(epoch);
  check(ballast_epoch_report(model.context(), 0, &epoch));
  m.committed = epoch.outcome == BALLAST_OUTCOME_COMMITTED;
  m.moves = epoch.moves;
  double most[] = {epoch.exchange_seconds, epoch.stall_seconds_max * 1e6,
                   static_cast<double>(epoch.bytes_received)};
  MPI_Allreduce(MPI_IN_PLACE, most, 3, MPI_DOUBLE, MPI_MAX, mpi.comm());
  m.seconds = most[0];
  m.stall_us = most[1];
  m.most = static_cast<std::int64_t>(most[2]);
  m.bytes = epoch.bytes_received;
  MPI_Allreduce(MPI_IN_PLACE, &m.bytes, 1, MPI_INT64_T, MPI_SUM, mpi.comm());
  return m;
}

moving_model_shape shape_of(const exchange_bench_options& options, const exchange_case& which,
                            int ranks) {
  moving_model_shape shape;
  shape.experts = options.experts;
  shape.spare_rows = which.way == "spare" ? options.receives_per_batch : 0;
  shape.tensor_bytes = split(which.expert_kib << 10, options.tensors);
  const std::int64_t rows = (options.experts * 3 / 2 + ranks - 1) / ranks + shape.spare_rows;
  shape.layers =
      options.layers > 0
          ? options.layers
          : static_cast<std::int32_t>(std::clamp<std::int64_t>(
                (options.weights_mib << 10) / (rows * which.expert_kib), 1, options.layers_max));
  return shape;
}

void measure(const mpi_session& mpi, const exchange_bench_options& options,
             const exchange_case& which, bench_table& table) {
  const moving_model_shape shape = shape_of(options, which, mpi.size());
  ballast_config config;
  ballast_config_init(&config);
  config.way = index_of("--way", which.way, way_names);
  config.verify = index_of("--verify", which.verify, verify_names);
  config.staging_experts = options.staging_experts;
  config.receives_per_batch = options.receives_per_batch;
  config.consensus_lag = options.lag;
  config.bytes_per_step = options.bytes_per_step;
  moving_model model(mpi, shape, config, 2);
  bare_ring ring(mpi, model.rows_between(), shape.tensor_bytes);

  samples gb_per_s;
  samples ring_gb_per_s;
  samples exchange_ms;
  epoch_measure sums;
  std::int64_t wrong = 0;
  constexpr int warm_ups = 2;  // one per half of the experts
  for (int epoch = 0; epoch < warm_ups + options.epochs; ++epoch) {
    const epoch_measure m = run_epoch(mpi, model);
    wrong += !m.committed && mpi.rank() == 0;
    const std::int64_t experts = m.most / model.expert_bytes();
    const double ring_seconds = ring.run(experts);
    if (epoch < warm_ups || m.bytes == 0) continue;
    gb_per_s.add(static_cast<double>(m.bytes) / mpi.size() / m.seconds / 1e9);
    ring_gb_per_s.add(static_cast<double>(experts * model.expert_bytes()) / ring_seconds / 1e9);
    exchange_ms.add(m.seconds * 1e3);
    sums.bytes += m.bytes;
    sums.steps += m.steps;
    sums.moves += m.moves;
    sums.stall_us = std::max(sums.stall_us, m.stall_us);
  }
  wrong += model.wrong_bytes() + ring.wrong_bytes();
  MPI_Allreduce(MPI_IN_PLACE, &wrong, 1, MPI_INT64_T, MPI_SUM, mpi.comm());
  const auto percent = [](double part, double whole) {
    return whole > 0 ? 100 * part / whole : 0.0;
  };
  table.add({which.expert_kib, which.way, which.verify, std::int64_t{shape.layers},
             sums.moves / options.epochs,
             static_cast<double>(sums.bytes) / options.epochs / mpi.size() / (1 << 20),
             sums.steps / options.epochs, sums.stall_us, exchange_ms.median(), gb_per_s.min(),
             gb_per_s.median(), gb_per_s.max(), ring_gb_per_s.median(), ring_gb_per_s.max(),
             percent(gb_per_s.median(), ring_gb_per_s.median()),
             percent(gb_per_s.max(), ring_gb_per_s.max())},
            wrong);
}

std::vector<bench_column> columns() {
  return {{"expert", "KiB", "expert_kib", 7, 0},
          {"way", "", "way", 6, 0},
          {"verify", "", "verify", 6, 0},
          {"layers", "", "layers", 6, 0},
          {"moves", "per epoch", "moves_per_epoch", 7, 0},
          {"received", "MiB/rank", "received_mib_per_rank", 8, 1},
          {"steps", "per epoch", "steps_per_epoch", 7, 0},
          {"stall max", "us", "stall_max_us", 9, 0},
          {"exchange", "ms", "exchange_median_ms", 8, 2},
          {"min", "GB/s", "min_gb_per_s", 6, 2},
          {"median", "GB/s", "median_gb_per_s", 6, 2},
          {"max", "GB/s", "max_gb_per_s", 6, 2},
          {"ring", "GB/s", "ring_median_gb_per_s", 6, 2},
          {"max", "GB/s", "ring_max_gb_per_s", 6, 2},
          {"of ring", "%", "of_ring_median_percent", 7, 1},
          {"of max", "%", "of_ring_max_percent", 6, 1}};
}

exit_code run_exchange_bench(const mpi_session& mpi, const exchange_bench_options& options) {
  if (mpi.size() < 2)
    throw job_error(exit_code::usage,
                    "bench exchange needs 2 ranks or more: mpirun -np 2 ballast bench exchange");
  if (options.backend == "cuda") return run_device_exchange_bench(mpi, options);
  bench_table table("exchange", options.output, mpi.rank() == 0, columns());
  table.parameter("experts", options.experts);
  table.parameter("tensors", options.tensors);
  table.parameter("epochs", options.epochs);
  table.parameter("staging_experts", options.staging_experts);
  table.parameter("receives_per_batch", options.receives_per_batch);
  table.parameter("lag", options.lag);
  table.parameter("bytes_per_step", options.bytes_per_step);
  table.parameter(
      "GB/s",
      "bytes received per rank / exchange time of the slowest rank, both directions at once");
  table.parameter("ring",
                  "the same messages by MPI_Isend and MPI_Irecv, one at a time, after each epoch, "
                  "between rows that lie between the model's");
  table.parameter("of ring, of max",
                  "median of the ring's median; max of its max, which other work on the machine "
                  "disturbs least");
  table.ranks(mpi);
  for (const std::string& way : options.ways) {
    for (const std::string& verify : options.verifies) {
      for (const std::int64_t kib : options.expert_kib)
        measure(mpi, options, {kib, way, verify}, table);
    }
  }
  exit_code code = exit_code::ok;
  together(mpi, [&] { code = table.finish(); });
  return code;
}

// 0 where the command line said nothing.
void settle(exchange_bench_options& o) {
  const bool host = o.backend == "host";
  const auto settle_one = [&](auto& value, std::int64_t on_host, std::int64_t on_gpu) {
    if (value == 0)
      value = static_cast<std::remove_reference_t<decltype(value)>>(host ? on_host : on_gpu);
  };
  settle_one(o.weights_mib, 192, 16384);
  settle_one(o.layers_max, 64, 256);
  settle_one(o.epochs, 20, 9);
  settle_one(o.receives_per_batch, 4, 16);
  if (!o.expert_kib.empty()) return;
  if (host) {
    o.expert_kib = {64, 1024, 4096, 16384};
  } else if (o.model.empty()) {
    o.model = "deepseek-v3-fp8";
    o.expert_kib = {4096, 1024};
  }
}

}  // namespace

void add_exchange_bench(command& bench, command_body& run) {
  auto o = std::make_shared<exchange_bench_options>();
  command* exchange = bench.add_subcommand(
      "exchange",
      "Bandwidth of moving experts while stepping, beside bare transfers; 2 ranks or more.");
  exchange->add_option("--backend", o->backend, "host, cuda")
      ->check(one_of({"host", "cuda"}))
      ->capture_default_str();
  exchange->add_option("--expert-kib", o->expert_kib, "Sizes of an expert, with commas between")
      ->delimiter(',')
      ->check(range(1, 1 << 20));
  exchange->add_option("--model", o->model,
                       "A model whose experts' size is one more; cuda [deepseek-v3-fp8]");
  exchange
      ->add_option("--transport", o->transports, "copy, nccl, with a comma between; cuda [copy]")
      ->delimiter(',')
      ->check(one_of({"copy", "nccl"}));
  exchange
      ->add_option("--hash-ctas", o->hash_ctas,
                   "CTAs that check what arrived, with commas between; cuda [1,2,4,8]")
      ->delimiter(',')
      ->check(range(1, 1024));
  exchange
      ->add_option("--nccl-ctas", o->nccl_ctas,
                   "CTAs of the transport nccl, with commas between; cuda [2]")
      ->delimiter(',')
      ->check(range(1, 64));
  exchange->add_option("--way", o->ways, "Ways, with commas between: auto, vacate, spare, staged")
      ->delimiter(',')
      ->check(one_of(way_names));
  exchange
      ->add_option("--verify", o->verifies,
                   "Which moves are hashed, with commas between: full, sample, off")
      ->delimiter(',')
      ->check(one_of(verify_names));
  exchange->add_option("--experts", o->experts, "Experts per layer, even")
      ->check(range(2, 4096))
      ->capture_default_str();
  exchange->add_option("--layers", o->layers, "Layers, instead of as many as the weights hold")
      ->check(range(1, 4096));
  exchange
      ->add_option("--weights-mib", o->weights_mib,
                   "Weights of a rank, which decides the layers [host 192, cuda 16384]")
      ->check(range(1, 1 << 20));
  exchange->add_option("--layers-max", o->layers_max, "Layers, at most [host 64, cuda 256]")
      ->check(range(1, 4096));
  exchange->add_option("--tensors", o->tensors, "Tensors of an expert, a message each; host")
      ->check(range(1, 64))
      ->capture_default_str();
  exchange->add_option("--epochs", o->epochs, "Epochs that are timed [host 20, cuda 9]")
      ->check(range(1, 100000));
  exchange->add_option("--staging-experts", o->staging_experts, "As in ballast_config")
      ->check(range(1, 1024))
      ->capture_default_str();
  exchange
      ->add_option("--receives-per-batch", o->receives_per_batch,
                   "As in ballast_config [host 4, cuda 16]")
      ->check(range(1, 4096));
  exchange->add_option("--lag", o->lag, "As in ballast_config: consensus_lag")
      ->check(range(1, 16))
      ->capture_default_str();
  exchange->add_option("--bytes-per-step", o->bytes_per_step, "As in ballast_config; 0 is unpaced")
      ->check(at_least_zero())
      ->capture_default_str();
  add_output_options(*exchange, o->output);
  exchange->footer(
      "#wrong counts wrong bytes in the rows that serve after the last epoch and in the rows of "
      "the bare transfers, and epochs that did not commit; with cuda words of 8 bytes, and ranks "
      "that are not reached by the transport asked for.\n"
      "Examples:\n  mpirun -np 2 ballast bench exchange --expert-kib 4096 --verify full,off --json "
      "exchange.json\n"
      "  mpirun -np 2 ballast bench exchange --backend cuda --transport copy,nccl --hash-ctas 2");
  exchange->callback([&run, o] {
    run = [o] {
      settle(*o);
      return run_mpi_job([&](const mpi_session& mpi) { return run_exchange_bench(mpi, *o); });
    };
  });
}

}  // namespace ballast
