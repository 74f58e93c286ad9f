#pragma once
// A NCCL communicator of the job's own.

#include <cuda_runtime_api.h>
#include <nccl.h>

#include <cstddef>
#include <cstdint>
#include <memory>

#include "jobs/cuda/library.hpp"
#include "jobs/mpi_session.hpp"

namespace ballast::gpu {

class nccl_comm {
 public:
  /// Collective over all ranks, blocking; every rank has its own GPU current. `ctas`: the most that
  /// an operation may use, as Ballast sets it for its own; 0: NCCL's choice.
  nccl_comm(const mpi_session& mpi, int ctas);

  int version() const;  ///< e.g. 22809

  /// Throws if NCCL has met an error since.
  void check() const;

  /// Operations between the two are one; `end` enqueues them.
  void begin_group() const;
  void end_group() const;
  void send(const void* from, std::size_t bytes, int peer, cudaStream_t stream) const;
  void receive(void* to, std::size_t bytes, int peer, cudaStream_t stream) const;

  /// Sums over all ranks; `from` and `to` may be the same.
  void all_reduce(const std::int64_t* from, std::int64_t* to, std::size_t count,
                  cudaStream_t stream) const;

 private:
  struct functions {
    library nccl{"libnccl.so.2"};
    decltype(ncclGetVersion)* get_version;
    decltype(ncclGetUniqueId)* get_unique_id;
    decltype(ncclCommInitRankConfig)* init;
    decltype(ncclCommAbort)* abort;
    decltype(ncclCommGetAsyncError)* async_error;
    decltype(ncclGetErrorString)* error_string;
    decltype(ncclGetLastError)* last_error;
    decltype(ncclGroupStart)* group_start;
    decltype(ncclGroupEnd)* group_end;
    decltype(ncclSend)* send;
    decltype(ncclRecv)* receive;
    decltype(ncclAllReduce)* all_reduce;
    functions();
  };
  struct release {  // also ends what waits for other ranks
    const functions* call;
    void operator()(ncclComm* comm) const noexcept { call->abort(comm); }
  };
  static const functions& loaded();
  void require(ncclResult_t code, const char* what) const;

  const functions& call_;
  std::unique_ptr<ncclComm, release> comm_;
};

}  // namespace ballast::gpu
