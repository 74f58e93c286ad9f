// `ballast bench reduce`: the loads of a window are in device memory on every rank and their sums
// are wanted in host memory, where the planner is. By MPI: copy them to page-locked memory and sum
// them there. By NCCL: sum them on the device and copy the sums.
#include <fmt/format.h>

#include <functional>
#include <memory>

#include "jobs/bench/cuda/device_model.hpp"
#include "jobs/bench/device_benches.hpp"
#include "jobs/bench/samples.hpp"
#ifdef BALLAST_WITH_NCCL
#include "jobs/cuda/nccl.hpp"
#endif

namespace ballast {
namespace {

class reduce_bench {
 public:
  reduce_bench(const mpi_session& mpi, const reduce_bench_options& options, bench_table& table)
      : mpi_(mpi),
        options_(options),
        table_(table),
        cells_(static_cast<std::size_t>(options.layers) * options.experts) {
    together(mpi, [&] {
      std::vector<std::int64_t> loads(cells_);
      for (std::size_t i = 0; i < cells_; ++i) loads[i] = load_of(mpi.rank(), i);
      on_device_ = gpu::array<std::int64_t>(loads);
      summed_on_device_ = gpu::array<std::int64_t>(cells_);
      here_ = gpu::pinned_array<std::int64_t>(cells_);
      sums_ = gpu::pinned_array<std::int64_t>(cells_);
      copy_to(here_, on_device_);
    });
  }

  void measure() {
    const auto by_mpi = [&] {
      MPI_Allreduce(here_.data(), sums_.data(), static_cast<int>(cells_), MPI_INT64_T, MPI_SUM,
                    mpi_.comm());
    };
    row("mpi, from page-locked memory", by_mpi, [] {});
    row(
        "mpi, from device memory",
        [&] {
          copy_to(here_, on_device_);
          by_mpi();
        },
        [] {});
#ifdef BALLAST_WITH_NCCL
    const gpu::nccl_comm comm(mpi_, 0);
    table_.parameter("nccl", comm.version());
    const auto by_nccl = [&] {
      comm.all_reduce(on_device_.data(), summed_on_device_.data(), cells_, stream_.get());
    };
    row(
        "nccl, in device memory",
        [&] {
          by_nccl();
          stream_.wait();
        },
        [&] { copy_to(sums_, summed_on_device_); });
    row(
        "nccl, to host memory",
        [&] {
          by_nccl();
          copy_to(sums_, summed_on_device_);
        },
        [] {});
    row_on_stream("nccl, on the stream alone", by_nccl);
#endif
  }

 private:
  static std::int64_t load_of(int rank, std::size_t cell) {
    return static_cast<std::int64_t>(rank + 1) * static_cast<std::int64_t>(cell * cell % 1000003);
  }

  void copy_to(gpu::pinned_array<std::int64_t>& to, const gpu::array<std::int64_t>& from) {
    BALLAST_GPU(cudaMemcpyAsync(to.data(), from.data(), from.bytes(), cudaMemcpyDeviceToHost,
                                stream_.get()));
    stream_.wait();
  }

  // Wrong sums; the sums are spoiled for the next row.
  std::int64_t check_sums() {
    std::int64_t wrong = 0;
    for (std::size_t i = 0; i < cells_; ++i) {
      std::int64_t expected = 0;
      for (int rank = 0; rank < mpi_.size(); ++rank) expected += load_of(rank, i);
      wrong += sums_[i] != expected;
      sums_[i] = -1;
    }
    return wrong;
  }

  // By the clock of the host, from the call to the sums; quantiles of the slowest rank.
  void row(const std::string& name, const std::function<void()>& work,
           const std::function<void()>& fetch_sums) {
    samples us;
    for (int i = -10; i < options_.repetitions; ++i) {
      MPI_Barrier(mpi_.comm());
      const double seconds = seconds_of(work);
      if (i >= 0) us.add(seconds * 1e6);
    }
    fetch_sums();
    add(name, us);
  }

  // By events around many: without what a host takes to launch and to wait.
  [[maybe_unused]] void row_on_stream(const std::string& name, const std::function<void()>& work) {
    constexpr int together_count = 50;
    gpu::timer begin;
    gpu::timer end;
    samples us;
    for (int i = -2; i < 20; ++i) {
      MPI_Barrier(mpi_.comm());
      begin.record(stream_.get());
      for (int k = 0; k < together_count; ++k) work();
      end.record(stream_.get());
      end.wait();
      if (i >= 0) us.add(end.seconds_since(begin) * 1e6 / together_count);
    }
    copy_to(sums_, summed_on_device_);
    add(name, us);
  }

  void add(const std::string& name, const samples& us) {
    double q[] = {us.min(), us.median(), us.quantile(0.99)};
    MPI_Allreduce(MPI_IN_PLACE, q, 3, MPI_DOUBLE, MPI_MAX, mpi_.comm());
    std::int64_t wrong = check_sums();
    MPI_Allreduce(MPI_IN_PLACE, &wrong, 1, MPI_INT64_T, MPI_SUM, mpi_.comm());
    table_.add({name, static_cast<std::int64_t>(us.size()), q[0], q[1], q[2]}, wrong);
  }

  const mpi_session& mpi_;
  const reduce_bench_options& options_;
  bench_table& table_;
  std::size_t cells_;
  gpu::stream stream_;
  gpu::array<std::int64_t> on_device_;
  gpu::array<std::int64_t> summed_on_device_;
  gpu::pinned_array<std::int64_t> here_;
  gpu::pinned_array<std::int64_t> sums_;
};

}  // namespace

exit_code run_reduce_bench(const mpi_session& mpi, const reduce_bench_options& options) {
  const gpu::place here = gpu::take_device(mpi, "--backend cuda");
  bench_table table("reduce", options.output, mpi.rank() == 0,
                    {{"way", "", "way", 30, 0},
                     {"samples", "", "samples", 7, 0},
                     {"min", "us", "min_us", 8, 2},
                     {"median", "us", "median_us", 8, 2},
                     {"p99", "us", "p99_us", 8, 2}});
  table.parameter("layers", options.layers);
  table.parameter("experts", options.experts);
  table.parameter("us", "from the call to the sums, slowest rank; on the stream: per call of 50");
  table.ranks(mpi);
  add_gpus(mpi, here, table);
  reduce_bench(mpi, options, table).measure();
  exit_code code = exit_code::ok;
  together(mpi, [&] { code = table.finish(); });
  return code;
}

}  // namespace ballast
