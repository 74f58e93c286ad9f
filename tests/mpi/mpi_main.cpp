// The main of every test program that runs under mpirun: MPI from start to end, and one verdict
// over all ranks. A test that fails on any rank fails on rank 0 with that rank's text; only rank 0
// prints what passes; all exit alike.
#include <gtest/gtest.h>
#include <mpi.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "tests/mpi/model_memory.hpp"

namespace {

constexpr std::size_t text_bytes = 2000;

std::string text_of(const testing::TestPartResult& result) {
  const std::string file = result.file_name() == nullptr ? "?" : result.file_name();
  return file + ":" + std::to_string(result.line_number()) + ": " + result.message();
}

// Gathers at the end of each test what failed. A rank's failure is also printed by that rank at
// once, because a test that returns early on one rank may leave the others waiting until the test's
// time is up.
class gathering_listener : public testing::EmptyTestEventListener {
 public:
  gathering_listener(int rank, int ranks) : rank_(rank), ranks_(ranks) {}

  void OnTestStart(const testing::TestInfo&) override { failures_.clear(); }

  void OnTestPartResult(const testing::TestPartResult& result) override {
    if (!result.failed() || rank_ == 0) return;
    const std::string text = text_of(result);
    std::fprintf(stderr, "rank %d: %s\n", rank_, text.c_str());
    if (failures_.size() < text_bytes) failures_ += text + "\n";
  }

  void OnTestEnd(const testing::TestInfo&) override {
    char mine[text_bytes] = {};
    std::strncpy(mine, failures_.c_str(), text_bytes - 1);
    std::vector<char> all(rank_ == 0 ? text_bytes * ranks_ : 0);
    MPI_Gather(mine, text_bytes, MPI_CHAR, all.data(), text_bytes, MPI_CHAR, 0, MPI_COMM_WORLD);
    if (rank_ != 0) return;
    for (int rank = 1; rank < ranks_; ++rank) {
      const char* text = all.data() + rank * text_bytes;
      if (*text != '\0') ADD_FAILURE() << "rank " << rank << " failed:\n" << text;
    }
  }

 private:
  int rank_;
  int ranks_;
  std::string failures_;
};

}  // namespace

int main(int argc, char** argv) {
  int provided = MPI_THREAD_SINGLE;
  MPI_Init_thread(&argc, &argv, MPI_THREAD_FUNNELED, &provided);
  int rank = 0;
  int ranks = 0;
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  MPI_Comm_size(MPI_COMM_WORLD, &ranks);
  testing::InitGoogleTest(&argc, argv);
  testing::TestEventListeners& listeners = testing::UnitTest::GetInstance()->listeners();
  if (rank != 0) delete listeners.Release(listeners.default_result_printer());
  listeners.Append(new gathering_listener(rank, ranks));
  if (const char* why = ballast::why_no_model_memory(); why != nullptr) {
    if (rank == 0) std::printf("all tests are skipped: %s\n", why);
    MPI_Finalize();
    return 0;
  }
  int code = RUN_ALL_TESTS();
  MPI_Allreduce(MPI_IN_PLACE, &code, 1, MPI_INT, MPI_MAX, MPI_COMM_WORLD);
  MPI_Finalize();
  return code;
}
