#include "jobs/cuda/nccl.hpp"

#include <fmt/format.h>

namespace ballast::gpu {

nccl_comm::functions::functions() {
  nccl.find(get_version, "ncclGetVersion");
  nccl.find(get_unique_id, "ncclGetUniqueId");
  nccl.find(init, "ncclCommInitRankConfig");
  nccl.find(abort, "ncclCommAbort");
  nccl.find(async_error, "ncclCommGetAsyncError");
  nccl.find(error_string, "ncclGetErrorString");
  nccl.find(last_error, "ncclGetLastError");
  nccl.find(group_start, "ncclGroupStart");
  nccl.find(group_end, "ncclGroupEnd");
  nccl.find(send, "ncclSend");
  nccl.find(receive, "ncclRecv");
  nccl.find(all_reduce, "ncclAllReduce");
}

const nccl_comm::functions& nccl_comm::loaded() {
  static const functions all;
  return all;
}

nccl_comm::nccl_comm(const mpi_session& mpi, int ctas)
    : call_(loaded()), comm_(nullptr, release{&call_}) {
  ncclUniqueId id = {};
  together(mpi, [&] {
    if (mpi.rank() == 0) require(call_.get_unique_id(&id), "ncclGetUniqueId");
  });
  MPI_Bcast(&id, sizeof(id), MPI_BYTE, 0, mpi.comm());
  ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
  if (ctas > 0) {
    config.minCTAs = 1;
    config.maxCTAs = ctas;
    config.cgaClusterSize = 1;
    config.splitShare = 0;
  }
  ncclComm_t made = nullptr;
  const ncclResult_t code = call_.init(&made, mpi.size(), id, mpi.rank(), &config);
  comm_.reset(made);
  require(code, "ncclCommInitRankConfig");
}

int nccl_comm::version() const {
  int version = 0;
  require(call_.get_version(&version), "ncclGetVersion");
  return version;
}

void nccl_comm::check() const {
  ncclResult_t state = ncclSuccess;
  require(call_.async_error(comm_.get(), &state), "ncclCommGetAsyncError");
  require(state, "NCCL");
}

void nccl_comm::begin_group() const { require(call_.group_start(), "ncclGroupStart"); }
void nccl_comm::end_group() const { require(call_.group_end(), "ncclGroupEnd"); }

void nccl_comm::send(const void* from, std::size_t bytes, int peer, cudaStream_t stream) const {
  require(call_.send(from, bytes, ncclInt8, peer, comm_.get(), stream), "ncclSend");
}

void nccl_comm::receive(void* to, std::size_t bytes, int peer, cudaStream_t stream) const {
  require(call_.receive(to, bytes, ncclInt8, peer, comm_.get(), stream), "ncclRecv");
}

void nccl_comm::all_reduce(const std::int64_t* from, std::int64_t* to, std::size_t count,
                           cudaStream_t stream) const {
  require(call_.all_reduce(from, to, count, ncclInt64, ncclSum, comm_.get(), stream),
          "ncclAllReduce");
}

void nccl_comm::require(ncclResult_t code, const char* what) const {
  if (code == ncclSuccess) return;
  throw job_error(
      exit_code::system,
      fmt::format("{}: {}: {}", what, call_.error_string(code), call_.last_error(comm_.get())),
      true);
}

}  // namespace ballast::gpu
