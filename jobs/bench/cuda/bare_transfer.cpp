#include "jobs/bench/cuda/bare_transfer.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "jobs/bench/cuda/load_kernels.hpp"
#include "jobs/bench/samples.hpp"

namespace ballast {
namespace {

// Of tensors. Where rows lie decides how fast they are pulled beside a product: at multiples of 4
// KiB 266 GB/s of 357, of 64 KiB all of them (two H200, 2026-11-29).
constexpr std::size_t alignment = 64 << 10;
constexpr std::size_t memory_bytes = std::size_t{1} << 30;  // of sources, and of targets

// As no row of a model has it.
std::uint64_t key_of(int rank, std::size_t row, std::size_t tensor) {
  return gpu::content_key((1 << 20) + rank, static_cast<int>(row), static_cast<int>(tensor));
}

}  // namespace

bare_rows::bare_rows(const mpi_session& mpi, std::vector<std::size_t> tensor_bytes)
    : next_rank_((mpi.rank() + 1) % mpi.size()),
      previous_rank_((mpi.rank() + mpi.size() - 1) % mpi.size()),
      tensor_bytes_(std::move(tensor_bytes)) {
  for (const std::size_t bytes : tensor_bytes_) {
    offset_.push_back(stride_);
    stride_ += (bytes + alignment - 1) / alignment * alignment;
  }
  rows_ = std::clamp<std::size_t>(memory_bytes / stride_, 2, 4096);
  together(mpi, [&] {
    source_ = gpu::array<std::byte>(rows_ * stride_);
    target_ = gpu::array<std::byte>(rows_ * stride_);
    BALLAST_GPU(cudaMemset(target_.data(), 0, target_.bytes()));
    for (std::size_t row = 0; row < rows_; ++row) {
      for (std::size_t t = 0; t < tensor_bytes_.size(); ++t) {
        BALLAST_GPU(gpu::fill_row(source(row, t), tensor_bytes_[t], key_of(mpi.rank(), row, t),
                                  cudaStreamLegacy));
      }
    }
    BALLAST_GPU(cudaDeviceSynchronize());
  });
}

std::size_t bare_rows::take_row() {
  const std::size_t row = next_;
  next_ = (next_ + 1) % rows_;
  taken_ = std::max(taken_, row + 1);
  return row;
}

std::int64_t bare_rows::wrong_words() const {
  const gpu::array<std::uint64_t> wrong(std::vector<std::uint64_t>{0});
  BALLAST_GPU(cudaDeviceSynchronize());
  for (std::size_t row = 0; row < taken_; ++row) {
    for (std::size_t t = 0; t < tensor_bytes_.size(); ++t) {
      BALLAST_GPU(gpu::count_wrong_words(target(row, t), tensor_bytes_[t],
                                         key_of(next_rank_, row, t), wrong.data(),
                                         cudaStreamLegacy));
    }
  }
  return static_cast<std::int64_t>(wrong.to_host()[0]);
}

void bare_transfer::enqueue(std::int64_t experts, cudaStream_t stream) {
  for (std::int64_t i = 0; i < experts; ++i) fetch(rows_.take_row(), stream);
}

double bare_transfer::run(std::int64_t experts) {
  MPI_Barrier(mpi_.comm());
  double seconds = seconds_of([&] {
    enqueue(experts, stream_.get());
    stream_.wait();
  });
  MPI_Allreduce(MPI_IN_PLACE, &seconds, 1, MPI_DOUBLE, MPI_MAX, mpi_.comm());
  return seconds;
}

void bare_transfer::close() {
  disconnect();
  MPI_Barrier(mpi_.comm());
}

bare_pull::bare_pull(const mpi_session& mpi, std::vector<std::size_t> tensor_bytes)
    : bare_transfer(mpi, std::move(tensor_bytes)) {
  cudaIpcMemHandle_t mine = {};
  cudaIpcMemHandle_t next = {};
  together(mpi, [&] { BALLAST_GPU(cudaIpcGetMemHandle(&mine, rows_.source_memory())); });
  MPI_Sendrecv(&mine, sizeof(mine), MPI_BYTE, rows_.previous_rank(), 0, &next, sizeof(next),
               MPI_BYTE, rows_.next_rank(), 0, mpi.comm(), MPI_STATUS_IGNORE);
  together(mpi, [&] {
    void* opened = nullptr;
    BALLAST_GPU(cudaIpcOpenMemHandle(&opened, next, cudaIpcMemLazyEnablePeerAccess));
    theirs_ = static_cast<std::byte*>(opened);
  });
}

void bare_pull::disconnect() noexcept {
  if (theirs_ != nullptr) cudaIpcCloseMemHandle(std::exchange(theirs_, nullptr));
}

void bare_pull::fetch(std::size_t row, cudaStream_t stream) {
  to_.clear();
  from_.clear();
  bytes_.clear();
  for (std::size_t t = 0; t < rows_.tensor_count(); ++t) {
    to_.push_back(rows_.target(row, t));
    from_.push_back(theirs_ + rows_.at(row, t));
    bytes_.push_back(rows_.tensor_bytes(t));
  }
#if CUDART_VERSION >= 13000
  cudaMemcpyAttributes how = {};
  how.srcAccessOrder = cudaMemcpySrcAccessOrderStream;
  how.flags = cudaMemcpyFlagPreferOverlapWithCompute;
  std::size_t first = 0;
  BALLAST_GPU(cudaMemcpyBatchAsync(to_.data(), from_.data(), bytes_.data(), to_.size(), &how,
                                   &first, 1, stream));
#else
  for (std::size_t t = 0; t < to_.size(); ++t)
    BALLAST_GPU(cudaMemcpyAsync(to_[t], from_[t], bytes_[t], cudaMemcpyDefault, stream));
#endif
}

#ifdef BALLAST_WITH_NCCL
void bare_send_receive::fetch(std::size_t row, cudaStream_t stream) {
  comm_.begin_group();
  for (std::size_t t = 0; t < rows_.tensor_count(); ++t)
    comm_.send(rows_.source(row, t), rows_.tensor_bytes(t), rows_.previous_rank(), stream);
  for (std::size_t t = 0; t < rows_.tensor_count(); ++t)
    comm_.receive(rows_.target(row, t), rows_.tensor_bytes(t), rows_.next_rank(), stream);
  comm_.end_group();
}
#endif

std::unique_ptr<bare_transfer> make_bare_transfer(const mpi_session& mpi, bare_kind kind,
                                                  const std::vector<std::size_t>& tensor_bytes,
                                                  [[maybe_unused]] int ctas) {
  if (kind == bare_kind::copy) return std::make_unique<bare_pull>(mpi, tensor_bytes);
#ifdef BALLAST_WITH_NCCL
  return std::make_unique<bare_send_receive>(mpi, tensor_bytes, ctas);
#else
  throw job_error(exit_code::system, "this build of ballast has no NCCL");
#endif
}

}  // namespace ballast
