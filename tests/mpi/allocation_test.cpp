// ballast_step allocates nothing while nothing goes wrong: operator new is replaced here and counts
// what the caller's thread asks for inside ballast_step. And where memory does run out inside a
// step, the context says so from then on.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <new>
#include <string>
#include <vector>

#include "tests/mpi/live_model.hpp"
#include "tests/mpi/made_up_loads.hpp"

namespace {

thread_local bool inside_step = false;  // the planner's thread never is
thread_local std::int64_t allocations = 0;
thread_local bool memory_is_out = false;

void* allocate(std::size_t bytes) {
  if (inside_step) {
    ++allocations;
    if (memory_is_out) throw std::bad_alloc();
  }
  void* memory = std::malloc(bytes == 0 ? 1 : bytes);
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}

}  // namespace

void* operator new(std::size_t bytes) { return allocate(bytes); }
void* operator new[](std::size_t bytes) { return allocate(bytes); }
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete[](void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
void operator delete[](void* memory, std::size_t) noexcept { std::free(memory); }

namespace ballast {
namespace {

// A context without the checks of live_model, which allocate.
class counted_model {
 public:
  counted_model(MPI_Comm comm, const ballast_config& config)
      : comm_(comm), config_(config), weights_(config.layers, rows()) {
    use_backend_of_tests(config_, rank_of(comm));
    EXPECT_EQ(ballast_create(&config_, comm, &context_), BALLAST_OK) << ballast_last_error();
    ballast_layer_tables t = {};
    t.struct_size = sizeof(t);
    for (int layer = 0; layer < config_.layers; ++layer) {
      EXPECT_EQ(ballast_tables(context_, layer, &t), BALLAST_OK) << ballast_last_error();
      for (int row = 0; row < rows(); ++row) {
        const std::int32_t expert = t.expert_of_slot[rank_of(comm) * rows() + row];
        if (expert >= 0) weights_.fill(layer, row, expert);
      }
      const std::vector<ballast_tensor> tensors = weights_.tensors(layer);
      EXPECT_EQ(ballast_register_layer(context_, layer, tensors.data(),
                                       static_cast<std::int32_t>(tensors.size())),
                BALLAST_OK)
          << ballast_last_error();
    }
    EXPECT_EQ(ballast_start(context_), BALLAST_OK) << ballast_last_error();
  }
  ~counted_model() { ballast_destroy(context_); }
  counted_model(const counted_model&) = delete;

  ballast_status step(ballast_step_result& result) {
    record();
    ++steps_;
    result = {};
    result.struct_size = sizeof(result);
    inside_step = true;
    const ballast_status status = ballast_step(context_, &result);
    inside_step = false;
    return status;
  }

  ballast_epoch newest() const {
    ballast_epoch epoch = {};
    epoch.struct_size = sizeof(epoch);
    EXPECT_EQ(ballast_epoch_report(context_, 0, &epoch), BALLAST_OK) << ballast_last_error();
    return epoch;
  }

 private:
  int rows() const { return config_.slots_per_rank + config_.spare_rows; }

  void record() {
    // Other loads in every epoch, so that every epoch moves.
    const std::int64_t step = steps_ / config_.interval * 1000;
    const std::vector<std::int64_t> loads =
        made_up_loads(1 + steps_ / config_.interval, step, config_.layers, config_.experts);
    std::vector<std::int64_t> counts(config_.experts);
    for (int layer = 0; layer < config_.layers; ++layer) {
      for (int e = 0; e < config_.experts; ++e) {
        counts[e] =
            part_of(loads[layer * config_.experts + e], step + e, rank_of(comm_), size_of(comm_));
      }
      EXPECT_EQ(ballast_record_counts(context_, layer, counts.data()), BALLAST_OK)
          << ballast_last_error();
    }
  }

  MPI_Comm comm_;
  ballast_config config_;
  made_up_weights weights_;
  ballast_context* context_ = nullptr;
  std::int64_t steps_ = 0;
};

TEST(allocation, steps_allocate_nothing) {
  const int ranks = size_of(MPI_COMM_WORLD);
  for (const int way : {BALLAST_WAY_VACATE, BALLAST_WAY_SPARE, BALLAST_WAY_STAGED}) {
    SCOPED_TRACE("way " + std::to_string(way));
    ballast_config config = small_config(ranks);
    config.way = way;
    config.spare_rows = way == BALLAST_WAY_SPARE ? 2 : 0;
    config.receives_per_batch = 3;
    counted_model model(MPI_COMM_WORLD, config);
    std::int64_t moves = 0;
    for (int epochs = 0, steps = 0; epochs < 12 && steps < 100000; ++steps) {
      ballast_step_result result;
      allocations = 0;
      ASSERT_EQ(model.step(result), BALLAST_OK) << ballast_last_error();
      EXPECT_EQ(allocations, 0) << "step " << result.step << ", phase " << result.phase;
      if (result.epoch_closed == 0) continue;
      ++epochs;
      moves += model.newest().moves;
    }
    EXPECT_TRUE(moves > 0 || ranks == 1);
  }
}

// The planner's failure is rehearsed since its text needs memory.
TEST(allocation, memory_that_runs_out_in_a_step_is_the_end_of_the_context) {
  ballast_config config = small_config(1);
  config.drill = "error:0:0";
  counted_model model(MPI_COMM_SELF, config);
  ballast_step_result result;
  ballast_status status = BALLAST_OK;
  memory_is_out = true;
  for (int i = 0; i < 100000 && status == BALLAST_OK; ++i) status = model.step(result);
  memory_is_out = false;
  EXPECT_EQ(status, BALLAST_ERROR_MEMORY) << ballast_last_error();
  const std::string text = ballast_last_error();
  EXPECT_EQ(model.step(result), BALLAST_ERROR_MEMORY);
  EXPECT_EQ(ballast_last_error(), text);
}

}  // namespace
}  // namespace ballast
