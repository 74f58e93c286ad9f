// In place of nccl_ffn_link.cpp where there is no nccl.h.
#include "jobs/replay/cuda/ffn_link.hpp"

namespace ballast {

class gpu::nccl_comm {};

ffn_link::ffn_link(const mpi_session& mpi) : rank_(mpi.rank()), ranks_(mpi.size()) {
  throw job_error(exit_code::system,
                  "--ffn on several GPUs needs NCCL, which this build does not have");
}

ffn_link::~ffn_link() = default;
void ffn_link::gather(std::span<const std::int32_t>, std::int32_t*, cudaStream_t) {}
void ffn_link::exchange(const rows&, cudaStream_t) {}
void ffn_link::check() {}

}  // namespace ballast
