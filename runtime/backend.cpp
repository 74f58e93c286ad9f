#include "runtime/backend.hpp"

#include "runtime/error.hpp"
#include "runtime/host_backend.hpp"
#ifdef BALLAST_WITH_CUDA
#include "runtime/cuda/cuda_backend.hpp"
#endif

namespace ballast {

std::unique_ptr<backend> make_backend(const settings& config, const live_placement& live,
                                      MPI_Comm weight_comm, int rank, const log_sink& log) {
  if (config.config.backend == BALLAST_BACKEND_HOST)
    return std::make_unique<host_backend>(config, live, weight_comm, rank);
#ifdef BALLAST_WITH_CUDA
  return make_cuda_backend(config, live, weight_comm, rank, log);
#else
  static_cast<void>(log);
  throw error(BALLAST_ERROR_SYSTEM, "backend is cuda, but this library was built without CUDA");
#endif
}

int device_count() {
#ifdef BALLAST_WITH_CUDA
  return cuda_device_count();
#else
  return 0;
#endif
}

}  // namespace ballast
