#pragma once
// The benches of the CUDA backend. Where the build has no CUDA, and where a rank sees no GPU, all
// throw job_error(system) on all ranks.

#include "jobs/bench/exchange_options.hpp"

namespace ballast {

exit_code run_device_exchange_bench(const mpi_session& mpi, const exchange_bench_options& options);

}  // namespace ballast
