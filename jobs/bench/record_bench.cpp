// `ballast bench record`: how fast the choices of the router are counted, beside a plain loop, a
// read and a copy of the same bytes in the same run.
//
// The counts stay inside Ballast, so they are checked by the digest of an epoch, which covers every
// count of the window: a second context is given the sums of the plain loop
// (ballast_record_counts), and both must report the same digest and the same tokens.
#include <fmt/format.h>

#include <cstring>
#include <memory>
#include <numeric>

#include "jobs/bench/bench.hpp"
#include "jobs/bench/device_benches.hpp"
#include "jobs/bench/id_bench.hpp"
#include "jobs/bench/samples.hpp"
#include "jobs/bench/table.hpp"

namespace ballast {
namespace {

struct times {
  samples record, plain, read, copy;
};

template <typename Id>
void count_plainly(const std::vector<Id>& ids, std::vector<std::int64_t>& counts) {
  for (const Id id : ids) ++counts[static_cast<std::size_t>(id)];
}

template <typename Id>
void measure(const mpi_session& mpi, const id_shape& shape, bench_table& table) {
  const std::vector<Id> ids =
      make_router_ids<Id>(shape, 1 + static_cast<std::uint64_t>(mpi.rank()));
  const ballast_ids call = to_call(ids, shape);
  const std::size_t bytes = ids.size() * sizeof(Id);
  std::vector<std::byte> copied(bytes);
  std::vector<std::int64_t> counts(static_cast<std::size_t>(shape.experts), 0);
  const int repetitions = repetitions_for(static_cast<std::int64_t>(ids.size()));
  const weightless_model model(mpi, record_config(shape, mpi.size()));
  times t;
  std::uint64_t sum = 0;
  ballast_status status = BALLAST_OK;
  MPI_Barrier(mpi.comm());
  for (int round = -1; round < repetitions;
       ++round) {  // the first is not timed, but counted by both
    if (round == 0) t = {};
    t.record.add(seconds_of([&] { status = ballast_record(model.context(), 0, &call); }));
    check(status);
    t.plain.add(seconds_of([&] { count_plainly(ids, counts); }));
    t.read.add(seconds_of([&] { sum = std::accumulate(ids.begin(), ids.end(), sum); }));
    t.copy.add(seconds_of([&] { std::memcpy(copied.data(), ids.data(), bytes); }));
  }
  const weightless_model expected(mpi, record_config(shape, mpi.size()));
  check(ballast_record_counts(expected.context(), 0, counts.data()));
  std::int64_t wrong = close_window(model.context()) != close_window(expected.context());
  wrong += std::memcmp(copied.data(), ids.data(), bytes) != 0;
  wrong += sum != static_cast<std::uint64_t>(repetitions + 1) *
                      std::accumulate(ids.begin(), ids.end(), std::uint64_t{0});

  double slowest[] = {t.record.median(), t.plain.median(), t.read.median(), t.copy.median()};
  MPI_Allreduce(MPI_IN_PLACE, slowest, 4, MPI_DOUBLE, MPI_MAX, mpi.comm());
  MPI_Allreduce(MPI_IN_PLACE, &wrong, 1, MPI_INT64_T, MPI_SUM, mpi.comm());
  const auto gb_per_s = [&](double seconds) {
    return seconds > 0 ? static_cast<double>(bytes) / seconds / 1e9 : 0.0;
  };
  table.add(
      {shape.tokens, std::int64_t{shape.columns}, std::int64_t{shape.experts},
       std::string(sizeof(Id) == 8 ? "int64" : "int32"), static_cast<double>(bytes) / (1 << 20),
       slowest[0] * 1e6, slowest[0] * 1e9 / static_cast<double>(ids.size()), gb_per_s(slowest[0]),
       gb_per_s(slowest[1]), gb_per_s(slowest[2]), gb_per_s(slowest[3]),
       slowest[0] > 0 ? slowest[1] / slowest[0] : 0.0},
      wrong);
}

exit_code run_record_bench(const mpi_session& mpi, const record_bench_options& options) {
  if (options.backend == "cuda") return run_device_record_bench(mpi, options);
  std::vector<id_shape> shapes;
  for (const std::string& text : options.cases) shapes.push_back(parse_id_shape(text));
  bench_table table("record", options.output, mpi.rank() == 0,
                    {{"tokens", "", "tokens", 8, 0},
                     {"k", "", "k", 3, 0},
                     {"experts", "", "experts", 7, 0},
                     {"type", "", "type", 5, 0},
                     {"ids", "MiB", "ids_mib", 8, 2},
                     {"record", "us", "record_us", 9, 2},
                     {"record", "ns/id", "record_ns_per_id", 8, 3},
                     {"record", "GB/s", "record_gb_per_s", 7, 2},
                     {"plain", "GB/s", "plain_gb_per_s", 7, 2},
                     {"read", "GB/s", "read_gb_per_s", 7, 2},
                     {"memcpy", "GB/s", "memcpy_gb_per_s", 7, 2},
                     {"plain/rec", "time", "plain_time_over_record_time", 9, 2}});
  table.parameter("ids", "skewed; the same every time, so in a cache if they fit one");
  table.parameter("GB/s",
                  "bytes of ids / median time of the slowest rank; memcpy reads and writes them");
  table.ranks(mpi);
  for (const id_shape& shape : shapes) {
    for (const std::string& type : options.types) {
      if (type == "int64") {
        measure<std::int64_t>(mpi, shape, table);
      } else {
        measure<std::int32_t>(mpi, shape, table);
      }
    }
  }
  exit_code code = exit_code::ok;
  together(mpi, [&] { code = table.finish(); });
  return code;
}

}  // namespace

void add_record_bench(command& bench, command_body& run) {
  auto o = std::make_shared<record_bench_options>();
  command* record = bench.add_subcommand(
      "record", "Speed of ballast_record, beside a plain loop and a read of the same bytes.");
  record->add_option("--backend", o->backend, "host, cuda")
      ->check(one_of({"host", "cuda"}))
      ->capture_default_str();
  record->add_option("--cases", o->cases, "TOKENSxK/EXPERTS, with commas between")
      ->delimiter(',')
      ->capture_default_str();
  record->add_option("--types", o->types, "int32, int64")
      ->delimiter(',')
      ->check(one_of({"int32", "int64"}))
      ->capture_default_str();
  add_output_options(*record, o->output);
  record->footer(
      "#wrong: 1 for counts that differ from the plain loop's in any expert, for a wrong copy and "
      "for a wrong sum.\n"
      "Example:\n  ballast bench record --cases 8192x8/256,65536x8/384 --json record.json");
  record->callback([&run, o] {
    run = [o] {
      return run_mpi_job([&](const mpi_session& mpi) { return run_record_bench(mpi, *o); });
    };
  });
}

}  // namespace ballast
