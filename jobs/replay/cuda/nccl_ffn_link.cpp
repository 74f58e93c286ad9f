#include "jobs/cuda/nccl.hpp"
#include "jobs/replay/cuda/ffn_link.hpp"

namespace ballast {

ffn_link::ffn_link(const mpi_session& mpi)
    : rank_(mpi.rank()), ranks_(mpi.size()), comm_(std::make_unique<gpu::nccl_comm>(mpi, 0)) {}

ffn_link::~ffn_link() = default;

void ffn_link::gather(std::span<const std::int32_t> mine, std::int32_t* all, cudaStream_t stream) {
  comm_->begin_group();
  for (int peer = 0; peer < ranks_; ++peer) {
    comm_->send(mine.data(), mine.size_bytes(), peer, stream);
    comm_->receive(all + mine.size() * peer, mine.size_bytes(), peer, stream);
  }
  comm_->end_group();
}

void ffn_link::exchange(const rows& what, cudaStream_t stream) {
  const float* from = what.from;
  float* to = what.to;
  comm_->begin_group();
  for (int peer = 0; peer < ranks_; ++peer) {
    const std::size_t sent = static_cast<std::size_t>(what.sent[peer]) * what.width;
    const std::size_t received = static_cast<std::size_t>(what.received[peer]) * what.width;
    if (peer != rank_ && sent > 0) comm_->send(from, sent * sizeof(float), peer, stream);
    if (peer != rank_ && received > 0) comm_->receive(to, received * sizeof(float), peer, stream);
    from += sent;
    to += received;
  }
  comm_->end_group();
}

void ffn_link::check() { comm_->check(); }

}  // namespace ballast
