#include "jobs/bench/ring.hpp"

#include <algorithm>
#include <cstring>
#include <limits>
#include <numeric>

#include "jobs/bench/samples.hpp"

namespace ballast {
namespace {

std::byte content_of(int rank) { return static_cast<std::byte>(rank % 251 + 1); }

}  // namespace

bare_ring::bare_ring(const mpi_session& mpi, std::size_t rows,
                     std::vector<std::size_t> tensor_bytes)
    : mpi_(mpi),
      rows_(std::max<std::size_t>(rows / 2 * 2, 2)),
      tensor_bytes_(std::move(tensor_bytes)) {
  stride_ = std::accumulate(tensor_bytes_.begin(), tensor_bytes_.end(), std::size_t{0});
  together(mpi, [&] {
    for (const std::size_t bytes : tensor_bytes_) {
      if (bytes > std::size_t{std::numeric_limits<int>::max()})
        throw std::invalid_argument("a tensor of the ring is 2 GiB or more");
    }
    memory_.assign(rows_ * stride_, content_of(mpi.rank()));
  });
}

double bare_ring::run(std::int64_t experts) {
  const int to = (mpi_.rank() + 1) % mpi_.size();
  const int from = (mpi_.rank() + mpi_.size() - 1) % mpi_.size();
  std::vector<MPI_Request> requests(2 * tensor_bytes_.size());
  MPI_Barrier(mpi_.comm());
  double seconds = seconds_of([&] {
    for (std::int64_t i = 0; i < experts; ++i) {
      std::byte* source = row(2 * next_);
      std::byte* target = row(2 * next_ + 1);
      auto request = requests.begin();
      for (const std::size_t bytes : tensor_bytes_) {
        MPI_Irecv(target, static_cast<int>(bytes), MPI_BYTE, from, 0, mpi_.comm(), &*request++);
        MPI_Isend(source, static_cast<int>(bytes), MPI_BYTE, to, 0, mpi_.comm(), &*request++);
        source += bytes;
        target += bytes;
      }
      MPI_Waitall(static_cast<int>(requests.size()), requests.data(), MPI_STATUSES_IGNORE);
      next_ = (next_ + 1) % (rows_ / 2);
      received_ = std::min(received_ + 1, rows_ / 2);
    }
  });
  MPI_Allreduce(MPI_IN_PLACE, &seconds, 1, MPI_DOUBLE, MPI_MAX, mpi_.comm());
  return seconds;
}

std::int64_t bare_ring::wrong_bytes() const {
  const std::byte expected = content_of((mpi_.rank() + mpi_.size() - 1) % mpi_.size());
  std::int64_t wrong = 0;
  for (std::size_t pair = 0; pair < received_; ++pair) {
    const std::byte* begin = memory_.data() + (2 * pair + 1) * stride_;
    wrong += static_cast<std::int64_t>(stride_) - std::count(begin, begin + stride_, expected);
  }
  return wrong;
}

}  // namespace ballast
