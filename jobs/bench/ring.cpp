#include "jobs/bench/ring.hpp"

#include <algorithm>
#include <limits>
#include <utility>

#include "jobs/bench/samples.hpp"

namespace ballast {
namespace {

std::byte content_of(int rank) { return static_cast<std::byte>(rank % 251 + 1); }

}  // namespace

bare_ring::bare_ring(const mpi_session& mpi, std::vector<std::vector<std::byte*>> rows,
                     std::vector<std::size_t> tensor_bytes)
    : mpi_(mpi), rows_(std::move(rows)), tensor_bytes_(std::move(tensor_bytes)) {
  together(mpi, [&] {
    for (const std::size_t bytes : tensor_bytes_) {
      if (bytes > std::size_t{std::numeric_limits<int>::max()})
        throw std::invalid_argument("a tensor of the ring is 2 GiB or more");
    }
    for (const auto& row : rows_) {
      for (std::size_t t = 0; t < row.size(); ++t)
        std::fill_n(row[t], tensor_bytes_[t], content_of(mpi.rank()));
    }
  });
}

double bare_ring::run(std::int64_t experts) {
  const int to = (mpi_.rank() + 1) % mpi_.size();
  const int from = (mpi_.rank() + mpi_.size() - 1) % mpi_.size();
  std::vector<MPI_Request> requests(2 * tensor_bytes_.size());
  MPI_Barrier(mpi_.comm());
  double seconds = seconds_of([&] {
    for (std::int64_t i = 0; i < experts; ++i) {
      const std::vector<std::byte*>& source = rows_[2 * next_];
      const std::vector<std::byte*>& target = rows_[2 * next_ + 1];
      auto request = requests.begin();
      for (std::size_t t = 0; t < tensor_bytes_.size(); ++t) {
        const int bytes = static_cast<int>(tensor_bytes_[t]);
        MPI_Irecv(target[t], bytes, MPI_BYTE, from, 0, mpi_.comm(), &*request++);
        MPI_Isend(source[t], bytes, MPI_BYTE, to, 0, mpi_.comm(), &*request++);
      }
      MPI_Waitall(static_cast<int>(requests.size()), requests.data(), MPI_STATUSES_IGNORE);
      next_ = (next_ + 1) % pairs();
      received_ = std::min(received_ + 1, pairs());
    }
  });
  MPI_Allreduce(MPI_IN_PLACE, &seconds, 1, MPI_DOUBLE, MPI_MAX, mpi_.comm());
  return seconds;
}

std::int64_t bare_ring::wrong_bytes() const {
  const std::byte expected = content_of((mpi_.rank() + mpi_.size() - 1) % mpi_.size());
  std::int64_t wrong = 0;
  for (std::size_t pair = 0; pair < received_; ++pair) {
    for (std::size_t t = 0; t < tensor_bytes_.size(); ++t) {
      const std::byte* begin = rows_[2 * pair + 1][t];
      const std::byte* end = begin + tensor_bytes_[t];
      wrong += end - begin - std::count(begin, end, expected);
    }
  }
  return wrong;
}

}  // namespace ballast
