// `ballast bench overlap`: what moving experts costs a model that computes, and what the model's
// computing costs the exchange. Two loads: products of bf16 matrices back to back, which keep all
// multiprocessors busy, beside unpaced transfers; and a kernel that reads memory as fast as it can,
// with one ballast_step per iteration, beside epochs paced in several ways. The products come with
// two kinds of values: a GPU at its power limit lowers its clocks for whatever is added, one that
// is below shows what the transfers take from the products themselves.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "jobs/bench/cuda/bar.hpp"
#include "jobs/bench/cuda/bare_transfer.hpp"
#include "jobs/bench/cuda/device_model.hpp"
#include "jobs/bench/cuda/load_kernels.hpp"
#include "jobs/bench/cuda/load_loop.hpp"
#include "jobs/bench/cuda/moving_epoch.hpp"
#include "jobs/bench/device_benches.hpp"
#include "jobs/bench/samples.hpp"
#include "jobs/cuda/blas.hpp"
#include "jobs/loads/models.hpp"

namespace ballast {
namespace {

constexpr std::int64_t default_bytes_per_step = 12 << 20;  // as in ballast.h, on a GPU
constexpr int warm_ups = 2;                                // epochs, one per half of the experts
constexpr int settle_blocks_max = 60;                      // of --iterations
constexpr double settled_percent = 0.2;                    // from a block to the next

enum part { apart, before, during, after, settling };  // and what follows: blocks of it

struct overlap_row {
  std::string load;
  std::string transfer;
  double mib_per_step = 0;  // 0: unpaced
  double alone_gb_per_s = 0;
  double beside_gb_per_s = 0;
  std::int64_t wrong = 0;
  std::int64_t experts = 0;  // that a rank received in an exchange
};

struct load_times {
  double before_ms = 0;
  double during_ms = 0;
  double after_ms = 0;
  std::int64_t iterations_during = 0;
  double slowed_percent = 0;
};

// Means over iterations; of the rank that was slowed most.
load_times times_of(const mpi_session& mpi, load_loop& load) {
  load_times t;
  t.before_ms = load.ms(before).mean();
  t.during_ms = load.ms(during).mean();
  t.after_ms = load.ms(after).mean();
  t.iterations_during = static_cast<std::int64_t>(load.ms(during).size());
  const double alone_ms = (t.before_ms + t.after_ms) / 2;
  t.slowed_percent = alone_ms > 0 && t.iterations_during > 0
                         ? 100 * (t.during_ms / alone_ms - 1)
                         : 100.0;  // nothing was measured: no bar is met
  struct {
    double percent;
    int rank;
  } worst = {t.slowed_percent, mpi.rank()};
  MPI_Allreduce(MPI_IN_PLACE, &worst, 1, MPI_DOUBLE_INT, MPI_MAXLOC, mpi.comm());
  MPI_Bcast(&t, sizeof(t), MPI_BYTE, worst.rank, mpi.comm());
  return t;
}

class overlap_bench {
 public:
  overlap_bench(const mpi_session& mpi, const overlap_bench_options& options, bench_table& table,
                const gpu::place& here)
      : mpi_(mpi),
        options_(options),
        table_(table),
        here_(here),
        expert_bytes_(find_model(options.model).expert_bytes),
        tensor_bytes_(split_quantised(expert_bytes_)) {}

  void beside_products(gpu::bf16_values which);
  void beside_reads();

 private:
  moving_model_shape shape(std::int64_t weights_mib) const;
  void settle(load_loop& load);
  void meet(load_loop& load);
  double bare_beside(load_loop& load, bare_transfer& bare, const gpu::stream& stream,
                     std::int64_t experts);
  overlap_row ballast_beside(load_loop& load, std::int32_t verify);
  overlap_row bare_row(load_loop& load, const std::string& name, bare_kind kind, int ctas,
                       std::int64_t experts);
  load_times add(const overlap_row& row, load_loop& load);

  const mpi_session& mpi_;
  const overlap_bench_options& options_;
  bench_table& table_;
  const gpu::place& here_;
  std::int64_t expert_bytes_;
  std::vector<std::size_t> tensor_bytes_;
  gpu::stream compute_;
};

moving_model_shape overlap_bench::shape(std::int64_t weights_mib) const {
  moving_model_shape s;
  s.experts = options_.experts;
  s.tensor_bytes = tensor_bytes_;
  const std::int64_t rows = (options_.experts * 3 / 2 + mpi_.size() - 1) / mpi_.size();
  s.layers = static_cast<std::int32_t>(
      std::clamp<std::int64_t>((weights_mib << 20) / (rows * expert_bytes_), 1, 4096));
  return s;
}

load_times overlap_bench::add(const overlap_row& row, load_loop& load) {
  const load_times t = times_of(mpi_, load);
  std::int64_t wrong = row.wrong;
  MPI_Allreduce(MPI_IN_PLACE, &wrong, 1, MPI_INT64_T, MPI_SUM, mpi_.comm());
  table_.add({row.load, row.transfer, row.mib_per_step, row.alone_gb_per_s, row.beside_gb_per_s,
              t.before_ms, t.during_ms, t.after_ms, t.iterations_during, t.slowed_percent},
             wrong);
  return t;
}

// Clocks and temperatures take seconds to settle. Collective: no GPU is idle meanwhile.
void overlap_bench::settle(load_loop& load) {
  double last_ms = 0;
  for (int block = 0; block < settle_blocks_max; ++block) {
    load.enter(settling + block);
    load.run(options_.iterations);
    meet(load);
    const double ms = load.ms(settling + block).mean();
    double changed = 100 * std::abs(ms / std::max(last_ms, 1e-9) - 1);
    MPI_Allreduce(MPI_IN_PLACE, &changed, 1, MPI_DOUBLE, MPI_MAX, mpi_.comm());
    if (changed < settled_percent) return;
    last_ms = ms;
  }
}

// A barrier that keeps the load running: a GPU that rests has other clocks after it.
void overlap_bench::meet(load_loop& load) {
  MPI_Request all = MPI_REQUEST_NULL;
  MPI_Ibarrier(mpi_.comm(), &all);
  for (int here = 0; here == 0;) {
    load.top_up();
    MPI_Test(&all, &here, MPI_STATUS_IGNORE);
  }
}

// GB/s of the slowest rank while the load runs on.
double overlap_bench::bare_beside(load_loop& load, bare_transfer& bare, const gpu::stream& stream,
                                  std::int64_t experts) {
  load.enter(before);
  load.run(options_.iterations);
  meet(load);
  load.enter(during);
  // By the host's clock: an event that takes the time waits for a product to end.
  double seconds = seconds_of([&] {
    for (std::int64_t i = 0; i < experts; ++i) {
      bare.enqueue(1, stream.get());
      load.top_up();
    }
    while (!stream.idle()) load.top_up();
  });
  load.enter(after);
  load.run(options_.iterations);
  load.enter(apart);
  meet(load);
  MPI_Allreduce(MPI_IN_PLACE, &seconds, 1, MPI_DOUBLE, MPI_MAX, mpi_.comm());
  return static_cast<double>(experts * expert_bytes_) / seconds / 1e9;
}

overlap_row overlap_bench::bare_row(load_loop& load, const std::string& name, bare_kind kind,
                                    int ctas, std::int64_t experts) {
  overlap_row row;
  row.transfer = name;
  const auto bare = make_bare_transfer(mpi_, kind, tensor_bytes_, ctas);
  bare->run(experts);
  samples alone;
  samples beside;
  for (int i = 0; i < options_.epochs; ++i)
    alone.add(static_cast<double>(experts * expert_bytes_) / bare->run(experts) / 1e9);
  const gpu::stream stream;
  bare->enqueue(1, stream.get());  // its first use is not timed
  settle(load);
  for (int i = 0; i < options_.epochs; ++i) beside.add(bare_beside(load, *bare, stream, experts));
  load.drain();
  row.alone_gb_per_s = alone.median();
  row.beside_gb_per_s = beside.median();
  row.wrong = bare->wrong_words();
  bare->close();
  return row;
}

overlap_row overlap_bench::ballast_beside(load_loop& load, std::int32_t verify) {
  ballast_config config;
  ballast_config_init(&config);
  config.transport = BALLAST_TRANSPORT_COPY;
  config.verify = verify;
  config.receives_per_batch = options_.receives_per_batch;
  config.bytes_per_step = -1;
  device_model model(mpi_, shape(options_.weights_mib), config, compute_);
  overlap_row row;
  row.transfer = verify == BALLAST_VERIFY_OFF ? "ballast copy, no hash" : "ballast copy, hashed";
  samples alone;
  samples beside;
  const auto measure = [&](samples& gb_per_s, const std::function<void(int)>& meanwhile) {
    const epoch_measure m = run_epoch(mpi_, model, meanwhile);
    row.wrong += !m.committed && mpi_.rank() == 0;
    if (m.received > 0)
      gb_per_s.add(static_cast<double>(m.received) / mpi_.size() / m.seconds / 1e9);
    row.experts = m.most_received / expert_bytes_;
  };
  samples not_counted;
  for (int epoch = 0; epoch < warm_ups; ++epoch) measure(not_counted, [](int) {});
  for (int epoch = 0; epoch < options_.epochs; ++epoch) measure(alone, [](int) {});
  settle(load);
  for (int epoch = 0; epoch < options_.epochs; ++epoch) {
    load.enter(before);
    load.run(options_.iterations);
    load.enter(apart);
    meet(load);
    bool exchanging = false;
    measure(beside, [&](int phase) {
      if (phase == BALLAST_PHASE_EXCHANGE && !exchanging) {
        exchanging = true;
        load.enter(during);
      }
      load.top_up();
    });
    load.enter(after);
    load.run(options_.iterations);
  }
  load.drain();
  row.alone_gb_per_s = alone.median();
  row.beside_gb_per_s = beside.median();
  row.wrong += model.wrong_words();
  return row;
}

void overlap_bench::beside_products(gpu::bf16_values which) {
  const bool at_limit = which == gpu::bf16_values::random;
  const std::string name = at_limit ? "bf16 product" : "bf16 signs";
  const std::size_t cells = static_cast<std::size_t>(options_.matrix) * options_.matrix;
  std::vector<gpu::array<std::uint16_t>> matrices;
  std::unique_ptr<gpu::blas> blas;
  together(mpi_, [&] {
    blas = std::make_unique<gpu::blas>(compute_.get());
    for (int i = 0; i < 3; ++i) {
      matrices.emplace_back(cells);
      BALLAST_GPU(gpu::fill_bf16(matrices.back().data(), cells, which, compute_.get()));
    }
  });
  const auto multiply = [&](cudaStream_t) {
    blas->multiply_bf16(options_.matrix, matrices[0].data(), matrices[1].data(),
                        matrices[2].data());
  };
  const auto measured = [&](const auto& transfer) {
    load_loop load(compute_.get(), multiply);
    overlap_row row = transfer(load);
    row.load = name;
    return std::pair(row, add(row, load));
  };
  // The copies alone, as the transfers they are compared with, and with every expert hashed.
  const auto [mine, mine_times] =
      measured([&](load_loop& l) { return ballast_beside(l, BALLAST_VERIFY_OFF); });
  measured([&](load_loop& l) { return ballast_beside(l, BALLAST_VERIFY_FULL); });
  const auto [pull, pull_times] = measured([&, experts = mine.experts](load_loop& l) {
    return bare_row(l, "bare pull", bare_kind::copy, 0, experts);
  });
  add_bar(table_, fmt::format("exchange by copy beside a {}, of the bare pull alone", name),
          bar_side::at_least, 90, 100 * mine.beside_gb_per_s / pull.alone_gb_per_s, "%");
  add_bar(table_,
          fmt::format("{}, {} the power limit, slowed by the exchange", name,
                      at_limit ? "at" : "below"),
          bar_side::at_most, 2, mine_times.slowed_percent, "%");
  add_bar(table_, fmt::format("{} slowed more by it than by bare pulls of as many bytes", name),
          bar_side::at_most, 0.5, mine_times.slowed_percent - pull_times.slowed_percent, "points");
  if (!at_limit) return;
#ifdef BALLAST_WITH_NCCL
  constexpr std::int64_t experts = 64;
  const auto [nccl, nccl_times] = measured(
      [&](load_loop& l) { return bare_row(l, "nccl send/recv", bare_kind::nccl, 0, experts); });
  measured([&](load_loop& l) { return bare_row(l, "nccl, 2 CTAs", bare_kind::nccl, 2, experts); });
  add_bar(table_, "exchange by copy beside a bf16 product, of NCCL beside the same",
          bar_side::at_least, 4, mine.beside_gb_per_s / nccl.beside_gb_per_s, "times");
#endif
}

void overlap_bench::beside_reads() {
  const std::size_t words = (static_cast<std::size_t>(options_.read_mib) << 20) / sizeof(uint4);
  gpu::array<uint4> memory;
  gpu::array<std::uint64_t> sum;
  together(mpi_, [&] {
    memory = gpu::array<uint4>(words);
    sum = gpu::array<std::uint64_t>(std::vector<std::uint64_t>{0});
    BALLAST_GPU(cudaMemset(memory.data(), 1, memory.bytes()));
    BALLAST_GPU(cudaDeviceSynchronize());
  });
  const auto read = [&](cudaStream_t stream) {
    BALLAST_GPU(gpu::read_all(memory.data(), words, sum.data(), here_.multiprocessors, stream));
  };
  for (const double times_default : {0.25, 0.5, 1.0, 2.0, 4.0, 0.0}) {
    const auto pace = static_cast<std::int64_t>(times_default * default_bytes_per_step);
    ballast_config config;
    ballast_config_init(&config);
    config.transport = BALLAST_TRANSPORT_COPY;
    config.hash_ctas = options_.hash_ctas;
    config.bytes_per_step = pace > 0 ? pace : -1;
    device_model model(mpi_, shape(options_.read_weights_mib), config, compute_);
    load_loop load(compute_.get(), read);
    overlap_row row;
    row.load = "memory read";
    row.transfer = "ballast copy";
    row.mib_per_step = static_cast<double>(pace) / (1 << 20);
    samples gb_per_s;
    for (int epoch = 0; epoch < std::max(options_.epochs, 2); ++epoch) {
      model.approach_trigger(1);
      MPI_Barrier(mpi_.comm());
      load.enter(before);
      load.run(options_.iterations);
      load.enter(apart);
      bool exchanging = false;
      const epoch_measure m = run_epoch(mpi_, model, [&](int phase) {
        if (phase == BALLAST_PHASE_EXCHANGE && !exchanging) {
          exchanging = true;
          load.enter(during);
        }
        load.add();
      });
      load.enter(after);
      load.run(options_.iterations);
      load.drain();
      row.wrong += !m.committed && mpi_.rank() == 0;
      if (m.received > 0)
        gb_per_s.add(static_cast<double>(m.received) / mpi_.size() / m.seconds / 1e9);
    }
    row.beside_gb_per_s = gb_per_s.median();
    row.wrong += model.wrong_words();
    const load_times t = add(row, load);
    if (pace == default_bytes_per_step) {
      add_bar(table_, "memory-bound kernel slowed by an epoch at the default pacing",
              bar_side::at_most, 2, t.slowed_percent, "%");
    }
  }
}

std::vector<bench_column> columns() {
  return {{"load", "", "load", 12, 0},
          {"transfer", "", "transfer", 14, 0},
          {"pace", "MiB/step", "pace_mib_per_step", 8, 1},
          {"alone", "GB/s", "alone_gb_per_s", 7, 1},
          {"beside", "GB/s", "beside_gb_per_s", 7, 1},
          {"before", "ms", "before_mean_ms", 8, 4},
          {"during", "ms", "during_mean_ms", 8, 4},
          {"after", "ms", "after_mean_ms", 8, 4},
          {"counted", "during", "iterations_during", 8, 0},
          {"slowed", "%", "slowed_percent", 7, 2}};
}

}  // namespace

exit_code run_overlap_bench(const mpi_session& mpi, const overlap_bench_options& options) {
  find_model(options.model);  // before anything that takes time
  const gpu::place here = gpu::take_device(mpi, "--backend cuda");
  bench_table table("overlap", options.output, mpi.rank() == 0, columns());
  table.parameter("model", options.model);
  table.parameter("epochs", options.epochs);
  table.parameter("iterations", options.iterations);
  table.parameter("matrix", options.matrix);
  table.parameter("read_mib", options.read_mib);
  table.parameter("hash_ctas", options.hash_ctas);
  table.parameter("receives_per_batch", options.receives_per_batch);
  table.parameter("pace", "bytes_per_step; 0 is unpaced");
  table.parameter(
      "GB/s",
      "received per rank / time of the slowest rank; of Ballast from the first start to "
      "the last commit, waiting for the load's iterations before each batch included");
  table.parameter("ms",
                  "mean of iterations, by events, on the rank that was slowed most; during: those "
                  "enqueued and ended within an exchange");
  table.parameter(
      "load",
      "bf16 product: of random values, which draws all the power that the GPU may; bf16 "
      "signs: of 1 and -1; memory read: read_mib a step");
  table.ranks(mpi);
  add_gpus(mpi, here, table);
  overlap_bench bench(mpi, options, table, here);
  bench.beside_products(gpu::bf16_values::random);
  bench.beside_products(gpu::bf16_values::signs);
  bench.beside_reads();
  exit_code code = exit_code::ok;
  together(mpi, [&] { code = table.finish(); });
  return code;
}

}  // namespace ballast
