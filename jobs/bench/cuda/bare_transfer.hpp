#pragma once
// What CUDA and NCCL give without Ballast: every rank fetches experts from the next rank, all at
// once, as copies from memory opened by CUDA IPC or as grouped sends and receives. The yardsticks
// of the exchange on GPUs.

#include <cstdint>
#include <memory>
#include <vector>

#include "jobs/cuda/gpu.hpp"
#ifdef BALLAST_WITH_NCCL
#include "jobs/cuda/nccl.hpp"
#endif

namespace ballast {

/// Rows of experts to fetch from and to fetch into, in an allocation each.
class bare_rows {
 public:
  bare_rows(const mpi_session& mpi, std::vector<std::size_t> tensor_bytes);

  std::size_t tensor_count() const { return tensor_bytes_.size(); }
  std::size_t tensor_bytes(std::size_t t) const { return tensor_bytes_[t]; }
  std::byte* source_memory() const { return source_.data(); }
  std::byte* source(std::size_t row, std::size_t t) const { return source_.data() + at(row, t); }
  std::byte* target(std::size_t row, std::size_t t) const { return target_.data() + at(row, t); }
  /// Of a row's tensor, from the begin of either memory.
  std::size_t at(std::size_t row, std::size_t t) const { return row * stride_ + offset_[t]; }
  int next_rank() const { return next_rank_; }
  int previous_rank() const { return previous_rank_; }

  /// The row for the next expert.
  std::size_t take_row();
  /// Blocking. Words of the rows taken so far that are not the next rank's.
  std::int64_t wrong_words() const;

 private:
  int next_rank_;
  int previous_rank_;
  std::vector<std::size_t> tensor_bytes_;
  std::vector<std::size_t> offset_;
  std::size_t stride_ = 0;
  std::size_t rows_ = 0;
  std::size_t next_ = 0;
  std::size_t taken_ = 0;
  gpu::array<std::byte> source_;
  gpu::array<std::byte> target_;
};

class bare_transfer {
 public:
  virtual ~bare_transfer() = default;
  /// Local. Puts the fetching of `experts` experts on the stream; all ranks must ask for as many.
  void enqueue(std::int64_t experts, cudaStream_t stream);
  /// Collective. Seconds of the slowest rank for `experts` experts.
  double run(std::int64_t experts);
  std::int64_t wrong_words() const { return rows_.wrong_words(); }
  /// Collective. To be called before the end: nobody may free rows that others have open.
  void close();

 protected:
  bare_transfer(const mpi_session& mpi, std::vector<std::size_t> tensor_bytes)
      : mpi_(mpi), rows_(mpi, std::move(tensor_bytes)) {}
  virtual void fetch(std::size_t row, cudaStream_t stream) = 0;
  virtual void disconnect() noexcept {}

  const mpi_session& mpi_;
  bare_rows rows_;

 private:
  gpu::stream stream_;
};

/// By copy engine, an expert's tensors as one batch of copies.
class bare_pull final : public bare_transfer {
 public:
  /// Collective. Throws job_error(system) on all ranks where one cannot open the other's memory.
  bare_pull(const mpi_session& mpi, std::vector<std::size_t> tensor_bytes);
  ~bare_pull() override { disconnect(); }

 private:
  void fetch(std::size_t row, cudaStream_t stream) override;
  void disconnect() noexcept override;

  std::byte* theirs_ = nullptr;  // the next rank's source rows
  std::vector<void*> to_;
  std::vector<const void*> from_;
  std::vector<std::size_t> bytes_;
};

#ifdef BALLAST_WITH_NCCL
/// By NCCL, an expert's tensors as one group.
class bare_send_receive final : public bare_transfer {
 public:
  /// Collective. `ctas` as for gpu::nccl_comm.
  bare_send_receive(const mpi_session& mpi, std::vector<std::size_t> tensor_bytes, int ctas)
      : bare_transfer(mpi, std::move(tensor_bytes)), comm_(mpi, ctas) {}

 private:
  void fetch(std::size_t row, cudaStream_t stream) override;

  gpu::nccl_comm comm_;
};
#endif

enum class bare_kind { copy, nccl };
/// Collective. Throws job_error(system) where the build has no NCCL and it is asked for.
std::unique_ptr<bare_transfer> make_bare_transfer(const mpi_session& mpi, bare_kind kind,
                                                  const std::vector<std::size_t>& tensor_bytes,
                                                  int ctas);

}  // namespace ballast
