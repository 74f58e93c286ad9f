#pragma once
// How tokens travel to their experts and back: on a NCCL communicator of the job's own, as in an
// engine, and nothing of Ballast's.

#include <cuda_runtime_api.h>

#include <cstdint>
#include <memory>
#include <span>

#include "jobs/mpi_session.hpp"

namespace ballast {

namespace gpu {
class nccl_comm;
}

class ffn_link {
 public:
  /// Collective. Throws job_error(system) where NCCL is missing.
  explicit ffn_link(const mpi_session& mpi);
  ~ffn_link();

  /// all [ranks][count]: every rank's `mine` [count]. Device memory, as below.
  void gather(std::span<const std::int32_t> mine, std::int32_t* all, cudaStream_t stream);

  /// Rows of `width` floats: sent[r] of `from` to rank r, in the order of ranks, and received[r] of
  /// `to` from it. What this rank sends to itself is left out.
  struct rows {
    const float* from;
    std::span<const std::int32_t> sent;
    float* to;
    std::span<const std::int32_t> received;
    int width;
  };
  void exchange(const rows& what, cudaStream_t stream);

  /// Throws job_error if NCCL has met an error since.
  void check();

 private:
  int rank_;
  int ranks_;
  std::unique_ptr<gpu::nccl_comm> comm_;
};

}  // namespace ballast
