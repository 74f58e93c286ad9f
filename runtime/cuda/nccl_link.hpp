#pragma once
// Ballast's own NCCL communicator: never captured in a graph, few CTAs, used from ballast_step
// only. The library is loaded when the first link is made, the one that the process has already if
// it has one, so that nothing here needs NCCL where no link does.

#include <cuda_runtime_api.h>
#include <mpi.h>

#include <cstddef>
#include <cstdint>
#include <memory>

struct ncclComm;

namespace ballast {

class nccl_link {
 public:
  /// Collective over `comm`, blocking up to the deadline. `ctas`: how many each operation may use.
  /// Every pair of ranks has exchanged a message when it returns, so that no later one has to set
  /// up a connection. Throws error(SYSTEM) if NCCL is not there or too old, on all ranks alike.
  nccl_link(MPI_Comm comm, int ctas, double deadline_seconds);
  /// Between begin_group() and end_group(): at most group_operations_max. end_group() returns when
  /// all are enqueued.
  static constexpr int group_operations_max = 32;
  void begin_group();
  void send(const void* from, std::size_t bytes, int peer, cudaStream_t stream);
  void receive(void* to, std::size_t bytes, int peer, cudaStream_t stream);
  void end_group();

  /// Throws error(SYSTEM) if NCCL has met an error since.
  void check();

  static int version();  ///< e.g. 22809; 0 if NCCL cannot be loaded

 private:
  struct abort_comm {  // also ends what is under way
    void operator()(ncclComm* comm) const noexcept;
  };

  void settle(int code, const char* call);
  void warm(int rank, int ranks);

  std::unique_ptr<ncclComm, abort_comm> comm_;
  double deadline_seconds_;
};

}  // namespace ballast
