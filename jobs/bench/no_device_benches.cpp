#include "jobs/bench/device_benches.hpp"

namespace ballast {
namespace {

[[noreturn]] exit_code refuse() {
  throw job_error(exit_code::system, "--backend cuda: this build of ballast has no CUDA");
}

}  // namespace

exit_code run_device_exchange_bench(const mpi_session&, const exchange_bench_options&) { refuse(); }

}  // namespace ballast
