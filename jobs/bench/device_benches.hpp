#pragma once
// The benches of the CUDA backend. Where the build has no CUDA, and where a rank sees no GPU, all
// throw job_error(system) on all ranks.

#include <cstdint>

#include "jobs/bench/call_options.hpp"
#include "jobs/bench/exchange_options.hpp"

namespace ballast {

struct overlap_bench_options {
  bench_output output;
  std::string model = "deepseek-v3-fp8";
  std::int64_t weights_mib = 40960;      ///< of a rank, beside the products
  std::int64_t read_weights_mib = 6144;  ///< of a rank, beside the reads
  std::int32_t experts = 16;
  std::int32_t epochs = 6;
  std::int32_t iterations = 100;  ///< before and after each epoch
  std::int32_t matrix = 8192;
  std::int64_t read_mib = 4096;
  std::int32_t hash_ctas = 2;
  std::int32_t receives_per_batch = 64;
};

struct reduce_bench_options {
  bench_output output;
  std::int32_t layers = 58;
  std::int32_t experts = 256;
  std::int32_t repetitions = 1000;
};

/// Collective. Throws as above, before anything is printed.
void require_devices(const mpi_session& mpi);

exit_code run_device_exchange_bench(const mpi_session& mpi, const exchange_bench_options& options);
exit_code run_overlap_bench(const mpi_session& mpi, const overlap_bench_options& options);
exit_code run_reduce_bench(const mpi_session& mpi, const reduce_bench_options& options);
exit_code run_device_record_bench(const mpi_session& mpi, const record_bench_options& options);
exit_code run_device_route_bench(const mpi_session& mpi, const route_bench_options& options);
void measure_device_steps(const mpi_session& mpi, const step_bench_options& options,
                          bench_table& table);

}  // namespace ballast
