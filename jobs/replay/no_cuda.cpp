// In place of jobs/replay/cuda/ where this build has no CUDA.
#include "jobs/replay/backend.hpp"

namespace ballast {

std::string why_not_a_gpu_each(const mpi_session&) { return "this build has no CUDA"; }

std::unique_ptr<replay_backend> make_cuda_replay(const mpi_session&, const replay_options&,
                                                 const replay_shape&) {
  throw job_error(exit_code::system, "--backend cuda: this build has no CUDA");
}

}  // namespace ballast
