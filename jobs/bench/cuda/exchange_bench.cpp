// `ballast bench exchange --backend cuda`: the bandwidth of whole epochs of a live context that
// steps in a tight loop, beside a bare transfer of as many experts of the same tensors right after
// each.
#include <fmt/format.h>

#include <algorithm>

#include "jobs/bench/cuda/bar.hpp"
#include "jobs/bench/cuda/bare_transfer.hpp"
#include "jobs/bench/cuda/device_model.hpp"
#include "jobs/bench/cuda/moving_epoch.hpp"
#include "jobs/bench/device_benches.hpp"
#include "jobs/bench/samples.hpp"
#include "jobs/loads/models.hpp"
#include "jobs/option_names.hpp"

namespace ballast {
namespace {

constexpr int warm_ups = 2;  // one per half of the experts

struct exchange_case {
  std::string transport;
  std::int32_t nccl_ctas;
  std::string way;
  std::string verify;
  std::int32_t hash_ctas;
};

moving_model_shape shape_of(const exchange_bench_options& options, const std::string& way,
                            std::int64_t expert_bytes, int ranks) {
  moving_model_shape shape;
  shape.experts = options.experts;
  shape.spare_rows = way == "spare" ? options.receives_per_batch : 0;
  shape.tensor_bytes = split_quantised(expert_bytes);
  const std::int64_t rows = (options.experts * 3 / 2 + ranks - 1) / ranks + shape.spare_rows;
  shape.layers =
      options.layers > 0
          ? options.layers
          : static_cast<std::int32_t>(std::clamp<std::int64_t>(
                (options.weights_mib << 20) / (rows * expert_bytes), 1, options.layers_max));
  return shape;
}

ballast_config config_of(const exchange_bench_options& options, const exchange_case& which) {
  ballast_config config;
  ballast_config_init(&config);
  config.way = index_of("--way", which.way, way_names);
  config.verify = index_of("--verify", which.verify, verify_names);
  config.transport = which.transport == "copy" ? BALLAST_TRANSPORT_COPY : BALLAST_TRANSPORT_NCCL;
  config.nccl_ctas = which.nccl_ctas;
  config.hash_ctas = which.hash_ctas;
  config.staging_experts = options.staging_experts;
  config.receives_per_batch = options.receives_per_batch;
  config.consensus_lag = options.lag;
  config.bytes_per_step = options.bytes_per_step == 0 ? -1 : options.bytes_per_step;
  return config;
}

// As the bars of the project are stated: for the model's experts, and for start-up with the layers
// of a whole model.
void judge(const exchange_bench_options& options, const exchange_case& which, double of_bare,
           double start_seconds, std::int32_t layers, bench_table& table) {
  constexpr std::int32_t layers_of_a_model = 58;
  const bool unpaced = options.bytes_per_step == 0;
  if (unpaced) {
    const std::string hashed =
        which.verify == "off" ? "" : fmt::format(", hash by {} CTAs", which.hash_ctas);
    add_bar(table,
            fmt::format("exchange by {}, {} experts, verify {}{}, of the bare transfer",
                        which.transport, options.model, which.verify, hashed),
            bar_side::at_least, 95, of_bare, "%");
  }
  if (layers >= layers_of_a_model) {
    add_bar(table, fmt::format("start-up of {} layers, transport {}", layers, which.transport),
            bar_side::at_most, 3, start_seconds, "s");
  }
}

void measure(const mpi_session& mpi, const exchange_bench_options& options,
             const exchange_case& which, std::int64_t expert_bytes, bare_transfer& bare,
             const gpu::stream& compute, bench_table& table) {
  const moving_model_shape shape = shape_of(options, which.way, expert_bytes, mpi.size());
  const ballast_config config = config_of(options, which);
  device_model model(mpi, shape, config, compute);
  samples gb_per_s;
  samples bare_gb_per_s;
  samples exchange_ms;
  double stall_us = 0;
  double received = 0;  // by a rank, over the epochs timed
  std::int64_t steps = 0;
  std::int64_t moves = 0;
  std::int64_t wrong = wrong_transports(mpi, model.context(), config.transport);
  for (int epoch = 0; epoch < warm_ups + options.epochs; ++epoch) {
    const epoch_measure m = run_epoch(mpi, model, [](int) {});
    wrong += !m.committed && mpi.rank() == 0;
    const std::int64_t experts = m.most_received / model.expert_bytes();
    const double bare_seconds = bare.run(experts);
    if (epoch < warm_ups || m.received == 0) continue;
    const double mine = static_cast<double>(m.received) / mpi.size();
    gb_per_s.add(mine / m.seconds / 1e9);
    bare_gb_per_s.add(static_cast<double>(experts * model.expert_bytes()) / bare_seconds / 1e9);
    exchange_ms.add(m.seconds * 1e3);
    received += mine;
    stall_us = std::max(stall_us, m.stall_us);
    steps += m.steps;
    moves += m.moves;
  }
  wrong += model.wrong_words() + bare.wrong_words();
  MPI_Allreduce(MPI_IN_PLACE, &wrong, 1, MPI_INT64_T, MPI_SUM, mpi.comm());
  const double bare_median = bare_gb_per_s.median();
  const double of_bare = bare_median > 0 ? 100 * gb_per_s.median() / bare_median : 0.0;
  const bool hashes = which.verify != "off";
  table.add({static_cast<double>(model.expert_bytes()) / 1024, which.transport,
             which.transport == "nccl" ? std::int64_t{which.nccl_ctas} : 0, which.way, which.verify,
             hashes ? std::int64_t{which.hash_ctas} : 0, std::int64_t{model.layers()},
             model.start_seconds(), moves / options.epochs, received / options.epochs / (1 << 20),
             steps / options.epochs, stall_us, exchange_ms.median(), gb_per_s.min(),
             gb_per_s.median(), gb_per_s.max(), bare_median, of_bare},
            wrong);
  if (!options.model.empty() && expert_bytes == find_model(options.model).expert_bytes)
    judge(options, which, of_bare, model.start_seconds(), model.layers(), table);
}

std::vector<bench_column> columns() {
  return {{"expert", "KiB", "expert_kib", 8, 1},
          {"transport", "", "transport", 9, 0},
          {"CTAs", "nccl", "nccl_ctas", 5, 0},
          {"way", "", "way", 6, 0},
          {"verify", "", "verify", 6, 0},
          {"CTAs", "hash", "hash_ctas", 5, 0},
          {"layers", "", "layers", 6, 0},
          {"start", "s", "start_s", 6, 3},
          {"moves", "per epoch", "moves_per_epoch", 7, 0},
          {"received", "MiB/rank", "received_mib_per_rank", 8, 1},
          {"steps", "per epoch", "steps_per_epoch", 7, 0},
          {"stall max", "us", "stall_max_us", 9, 0},
          {"exchange", "ms", "exchange_median_ms", 8, 2},
          {"min", "GB/s", "min_gb_per_s", 6, 1},
          {"median", "GB/s", "median_gb_per_s", 6, 1},
          {"max", "GB/s", "max_gb_per_s", 6, 1},
          {"bare", "GB/s", "bare_median_gb_per_s", 6, 1},
          {"of bare", "%", "of_bare_percent", 7, 1}};
}

// Verification off needs no CTAs of the hash, the transport copy none of NCCL's.
std::vector<exchange_case> cases_of(const exchange_bench_options& options,
                                    const std::string& transport, std::int32_t nccl_ctas) {
  std::vector<exchange_case> cases;
  for (const std::string& way : options.ways) {
    for (const std::string& verify : options.verifies) {
      for (const std::int32_t hash_ctas : options.hash_ctas) {
        cases.push_back({transport, nccl_ctas, way, verify, hash_ctas});
        if (verify == "off") break;
      }
    }
  }
  return cases;
}

}  // namespace

exit_code run_device_exchange_bench(const mpi_session& mpi, const exchange_bench_options& options) {
  std::vector<std::int64_t> sizes;
  if (!options.model.empty()) sizes.push_back(find_model(options.model).expert_bytes);
  for (const std::int64_t kib : options.expert_kib) sizes.push_back(kib << 10);
  const gpu::place here = gpu::take_device(mpi, "--backend cuda");
  bench_table table("exchange", options.output, mpi.rank() == 0, columns());
  table.parameter("backend", options.backend);
  table.parameter("experts", options.experts);
  table.parameter("tensors", "three matrices and three rows of scales");
  table.parameter("epochs", options.epochs);
  table.parameter("staging_experts", options.staging_experts);
  table.parameter("receives_per_batch", options.receives_per_batch);
  table.parameter("lag", options.lag);
  table.parameter("bytes_per_step", options.bytes_per_step);
  table.parameter("start", "ballast_register_layer of all layers and ballast_start, slowest rank");
  table.parameter("GB/s",
                  "bytes received per rank / time of the slowest rank from the first start to the "
                  "last commit, both directions at once");
  table.parameter("bare",
                  "as many experts right after each epoch: pulled by cudaMemcpyBatchAsync, or by "
                  "grouped ncclSend and ncclRecv with as many CTAs");
  table.ranks(mpi);
  add_gpus(mpi, here, table);
  const gpu::stream compute;
  for (const std::string& transport : options.transports) {
    const std::vector<std::int32_t> ctas =
        transport == "nccl" ? options.nccl_ctas : std::vector<std::int32_t>{2};
    for (const std::int64_t bytes : sizes) {
      for (const std::int32_t nccl_ctas : ctas) {
        const auto bare =
            make_bare_transfer(mpi, transport == "nccl" ? bare_kind::nccl : bare_kind::copy,
                               split_quantised(bytes), nccl_ctas);
        for (const exchange_case& which : cases_of(options, transport, nccl_ctas))
          measure(mpi, options, which, bytes, *bare, compute, table);
        bare->close();
      }
    }
  }
  exit_code code = exit_code::ok;
  together(mpi, [&] { code = table.finish(); });
  return code;
}

}  // namespace ballast
