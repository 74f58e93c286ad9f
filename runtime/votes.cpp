#include "runtime/votes.hpp"

#include "runtime/error.hpp"

namespace ballast {

votes::votes(MPI_Comm comm, int lag)
    : comm_(comm), lag_(lag), ring_(static_cast<std::size_t>(lag) + 1) {}

void votes::post(std::int64_t step, const vote& mine) {
  entry& e = slot(step);
  BALLAST_EXPECT(e.step == -1, "a vote was overwritten before it was read");
  e.mine = mine;
  e.step = step;
  ++outstanding_;
  BALLAST_MPI(
      MPI_Iallreduce(&e.mine, &e.reduced, vote_words, MPI_UINT64_T, MPI_MIN, comm_, &e.request));
}

bool votes::due(std::int64_t step) const {
  return step >= lag_ &&
         ring_[static_cast<std::size_t>(step - lag_) % ring_.size()].step == step - lag_;
}

vote votes::take(std::int64_t step) {
  entry& e = slot(step - lag_);
  e.step = -1;
  --outstanding_;
  return e.reduced;
}

}  // namespace ballast
