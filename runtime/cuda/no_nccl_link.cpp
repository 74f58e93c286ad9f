// In place of nccl_link.cpp where there was no nccl.h: every link is refused.
#include "runtime/cuda/nccl_link.hpp"
#include "runtime/error.hpp"

namespace ballast {

void nccl_link::abort_comm::operator()(ncclComm*) const noexcept {}

nccl_link::nccl_link(MPI_Comm, int, double deadline_seconds) : deadline_seconds_(deadline_seconds) {
  throw error(BALLAST_ERROR_SYSTEM, "this library was built without NCCL");
}

int nccl_link::version() { return 0; }
void nccl_link::begin_group() {}
void nccl_link::send(const void*, std::size_t, int, cudaStream_t) {}
void nccl_link::receive(void*, std::size_t, int, cudaStream_t) {}
void nccl_link::end_group() {}
void nccl_link::check() {}

}  // namespace ballast
