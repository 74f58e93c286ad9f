#include "jobs/bench/device_benches.hpp"

namespace ballast {
namespace {

[[noreturn]] void refuse() {
  throw job_error(exit_code::system, "--backend cuda: this build of ballast has no CUDA");
}

}  // namespace

void require_devices(const mpi_session&) { refuse(); }
exit_code run_device_exchange_bench(const mpi_session&, const exchange_bench_options&) { refuse(); }
exit_code run_overlap_bench(const mpi_session&, const overlap_bench_options&) { refuse(); }
exit_code run_reduce_bench(const mpi_session&, const reduce_bench_options&) { refuse(); }
exit_code run_device_record_bench(const mpi_session&, const record_bench_options&) { refuse(); }
exit_code run_device_route_bench(const mpi_session&, const route_bench_options&) { refuse(); }
void measure_device_steps(const mpi_session&, const step_bench_options&, bench_table&) { refuse(); }

}  // namespace ballast
