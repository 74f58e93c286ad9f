// `ballast bench record` and `route` with --backend cuda: the time of a call when many follow each
// other on a stream, launched one by one and replayed from a graph.
#include <fmt/format.h>

#include <functional>
#include <memory>

#include "jobs/bench/cuda/device_model.hpp"
#include "jobs/bench/cuda/load_kernels.hpp"
#include "jobs/bench/device_benches.hpp"
#include "jobs/bench/id_bench.hpp"
#include "jobs/bench/route_judge.hpp"
#include "jobs/bench/samples.hpp"

namespace ballast {
namespace {

constexpr int calls = 200;  // timed as one
constexpr int warm_ups = 2;
constexpr int repetitions = 21;

/// A started context of one layer whose experts are a few bytes each.
class weightless_device_model {
 public:
  weightless_device_model(const mpi_session& mpi, ballast_config config,
                          const gpu::stream& compute) {
    constexpr std::size_t expert_bytes = 16;
    config.layers = 1;
    config.backend = BALLAST_BACKEND_CUDA;
    config.stream = compute.get();
    ballast_context* context = nullptr;
    check(ballast_create(&config, mpi.comm(), &context));
    context_.reset(context);
    together(mpi, [&] {
      const std::int32_t rows = config.slots_per_rank;
      void* memory = nullptr;
      check(ballast_alloc(context, rows * expert_bytes, &memory));
      ballast_layer_tables tables;
      tables.struct_size = sizeof(tables);
      check(ballast_tables(context, 0, &tables));
      for (std::int32_t row = 0; row < rows; ++row) {
        const std::int32_t expert = tables.expert_of_slot[mpi.rank() * rows + row];
        if (expert < 0) continue;
        BALLAST_GPU(gpu::fill_row(static_cast<std::byte*>(memory) + row * expert_bytes,
                                  expert_bytes, gpu::content_key(0, expert, 0), compute.get()));
      }
      compute.wait();
      const ballast_tensor tensor = {memory, expert_bytes, expert_bytes};
      check(ballast_register_layer(context, 0, &tensor, 1));
    });
    check(ballast_start(context));
  }
  ballast_context* context() const { return context_.get(); }

 private:
  context_handle context_;
};

/// Microseconds of a call; of the slowest rank, median over repetitions.
struct call_times {
  double host_us = 0;   // until the call returns
  double eager_us = 0;  // on the GPU
  double graph_us = 0;
  std::int64_t count = 0;  // calls that the GPU has made in all
};

struct graph_release {
  void operator()(cudaGraph_t graph) const noexcept { cudaGraphDestroy(graph); }
  void operator()(cudaGraphExec_t graph) const noexcept { cudaGraphExecDestroy(graph); }
};

std::unique_ptr<CUgraphExec_st, graph_release> capture(cudaStream_t stream,
                                                       const std::function<void()>& call) {
  BALLAST_GPU(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
  for (int i = 0; i < calls; ++i) call();
  cudaGraph_t made = nullptr;
  BALLAST_GPU(cudaStreamEndCapture(stream, &made));
  const std::unique_ptr<CUgraph_st, graph_release> graph(made);
  cudaGraphExec_t executable = nullptr;
  BALLAST_GPU(cudaGraphInstantiate(&executable, graph.get(), 0));
  return std::unique_ptr<CUgraphExec_st, graph_release>(executable);
}

call_times measure_calls(const mpi_session& mpi, const gpu::stream& compute,
                         const std::function<void()>& call) {
  const cudaStream_t stream = compute.get();
  gpu::timer begin;
  gpu::timer end;
  samples host_us;
  samples eager_us;
  samples graph_us;
  call_times t;
  const auto timed = [&](const std::function<void()>& work) {
    begin.record(stream);
    work();
    end.record(stream);
    end.wait();
    t.count += calls;
    return end.seconds_since(begin) * 1e6 / calls;
  };
  MPI_Barrier(mpi.comm());
  for (int i = -warm_ups; i < repetitions; ++i) {
    double seconds = 0;
    const double us = timed([&] {
      seconds = seconds_of([&] {
        for (int k = 0; k < calls; ++k) call();
      });
    });
    if (i < 0) continue;
    eager_us.add(us);
    host_us.add(seconds * 1e6 / calls);
  }
  const auto graph = capture(stream, call);
  for (int i = -warm_ups; i < repetitions; ++i) {
    const double us = timed([&] { BALLAST_GPU(cudaGraphLaunch(graph.get(), stream)); });
    if (i >= 0) graph_us.add(us);
  }
  double slowest[] = {host_us.median(), eager_us.median(), graph_us.median()};
  MPI_Allreduce(MPI_IN_PLACE, slowest, 3, MPI_DOUBLE, MPI_MAX, mpi.comm());
  t.host_us = slowest[0];
  t.eager_us = slowest[1];
  t.graph_us = slowest[2];
  return t;
}

template <typename Id>
std::string type_name() {
  return sizeof(Id) == 8 ? "int64" : "int32";
}

// As on the host: the digest of an epoch covers every count of its window, so that a context given
// the counts of a plain loop must report the same.
template <typename Id>
void measure_record(const mpi_session& mpi, const id_shape& shape, const gpu::stream& compute,
                    bench_table& table) {
  const std::vector<Id> ids =
      make_router_ids<Id>(shape, 1 + static_cast<std::uint64_t>(mpi.rank()));
  const gpu::array<Id> on_device(ids);
  const ballast_ids call = to_call(on_device, shape);
  const weightless_device_model model(mpi, record_config(shape, mpi.size()), compute);
  const call_times t =
      measure_calls(mpi, compute, [&] { check(ballast_record(model.context(), 0, &call)); });

  std::vector<std::int64_t> counts(static_cast<std::size_t>(shape.experts), 0);
  for (const Id id : ids) counts[static_cast<std::size_t>(id)] += t.count;
  const gpu::array<std::int64_t> counts_on_device(counts);
  const weightless_device_model expected(mpi, record_config(shape, mpi.size()), compute);
  check(ballast_record_counts(expected.context(), 0, counts_on_device.data()));
  std::int64_t wrong = close_window(model.context()) != close_window(expected.context());
  MPI_Allreduce(MPI_IN_PLACE, &wrong, 1, MPI_INT64_T, MPI_SUM, mpi.comm());
  table.add({std::string("record"), shape.tokens, std::int64_t{shape.columns},
             std::int64_t{shape.experts}, type_name<Id>(), t.host_us, t.eager_us, t.graph_us},
            wrong);
}

template <typename Id>
void measure_route(const mpi_session& mpi, ballast_context* context, const id_shape& shape,
                   const gpu::stream& compute, bench_table& table) {
  const route_judge judge(mpi, context, shape.experts);
  const std::vector<Id> ids = make_router_ids<Id>(shape, 1);  // the same on all ranks
  const gpu::array<Id> on_device(ids);
  const gpu::array<Id> slots(ids.size());
  const ballast_ids call = to_call(on_device, shape);
  for (int mode = BALLAST_ROUTE_SHARES; mode <= BALLAST_ROUTE_RANK_INVARIANT; ++mode) {
    BALLAST_GPU(cudaMemset(slots.data(), 0xff, slots.bytes()));
    BALLAST_GPU(cudaDeviceSynchronize());
    const call_times t = measure_calls(
        mpi, compute, [&] { check(ballast_route(context, 0, &call, mode, slots.data())); });
    std::int64_t wrong = judge.wrong(ids, slots.to_host(), mode);
    MPI_Allreduce(MPI_IN_PLACE, &wrong, 1, MPI_INT64_T, MPI_SUM, mpi.comm());
    table.add(
        {std::string("route, ") + route_mode_names[mode], shape.tokens, std::int64_t{shape.columns},
         std::int64_t{shape.experts}, type_name<Id>(), t.host_us, t.eager_us, t.graph_us},
        wrong);
  }
}

std::vector<bench_column> columns() {
  return {{"call", "", "call", 21, 0},
          {"tokens", "", "tokens", 8, 0},
          {"k", "", "k", 3, 0},
          {"experts", "", "experts", 7, 0},
          {"type", "", "type", 5, 0},
          {"host", "us", "host_us", 8, 2},
          {"eager", "us", "eager_us", 8, 2},
          {"graph", "us", "graph_us", 8, 2}};
}

void describe(bench_table& table) {
  table.parameter("us", fmt::format("per call, {} calls in a row, median of {} times, slowest rank",
                                    calls, repetitions));
  table.parameter("host",
                  "until the call returns; eager, graph: by events, launched one by one or "
                  "replayed from a graph");
}

exit_code finish(const mpi_session& mpi, bench_table& table) {
  exit_code code = exit_code::ok;
  together(mpi, [&] { code = table.finish(); });
  return code;
}

}  // namespace

exit_code run_device_record_bench(const mpi_session& mpi, const record_bench_options& options) {
  std::vector<id_shape> shapes;
  for (const std::string& text : options.cases) shapes.push_back(parse_id_shape(text));
  const gpu::place here = gpu::take_device(mpi, "--backend cuda");
  bench_table table("record", options.output, mpi.rank() == 0, columns());
  describe(table);
  table.ranks(mpi);
  add_gpus(mpi, here, table);
  const gpu::stream compute;
  for (const id_shape& shape : shapes) {
    for (const std::string& type : options.types) {
      if (type == "int64") {
        measure_record<std::int64_t>(mpi, shape, compute, table);
      } else {
        measure_record<std::int32_t>(mpi, shape, compute, table);
      }
    }
  }
  return finish(mpi, table);
}

exit_code run_device_route_bench(const mpi_session& mpi, const route_bench_options& options) {
  const gpu::place here = gpu::take_device(mpi, "--backend cuda");
  const id_shape shape = {options.tokens, options.columns, options.experts};
  const routed_placement placement = make_placement(options.experts, mpi.size());
  const gpu::stream compute;
  const weightless_device_model model(mpi, route_config(placement, options.experts, mpi.size()),
                                      compute);
  bench_table table("route", options.output, mpi.rank() == 0, columns());
  describe(table);
  table.parameter("replicas",
                  "two, of a quarter and three quarters, for the low half of the experts");
  table.ranks(mpi);
  add_gpus(mpi, here, table);
  measure_route<std::int32_t>(mpi, model.context(), shape, compute, table);
  measure_route<std::int64_t>(mpi, model.context(), shape, compute, table);
  return finish(mpi, table);
}

}  // namespace ballast
