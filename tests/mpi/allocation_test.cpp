// ballast_step allocates nothing while nothing goes wrong: operator new is replaced here and counts
// what the caller's thread asks for inside ballast_step. And where memory does run out inside a
// step, the context says so from then on.
#include <gtest/gtest.h>

#include <cstdlib>
#include <new>
#include <string>

#include "tests/mpi/bare_model.hpp"
#include "tests/mpi/live_model.hpp"

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
void* operator new(std::size_t bytes, const std::nothrow_t&) noexcept {
  try {
    return allocate(bytes);
  } catch (const std::bad_alloc&) {
    return nullptr;
  }
}
void* operator new[](std::size_t bytes, const std::nothrow_t& none) noexcept {
  return operator new(bytes, none);
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete[](void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
void operator delete[](void* memory, std::size_t) noexcept { std::free(memory); }

namespace ballast {
namespace {

struct counted_model : bare_model {
  counted_model(MPI_Comm comm, const ballast_config& given) : bare_model(comm, given) {
    config.log = [](void* has_spoken, std::int32_t, const char*) {
      *static_cast<bool*>(has_spoken) = true;
    };
    config.log_user = &has_spoken;
    EXPECT_EQ(begin(), BALLAST_OK) << ballast_last_error();
  }

  ballast_status step(ballast_step_result& result) {
    const std::int64_t epoch = steps_++ / config.interval;
    record(1 + epoch, 1000 * epoch);  // other loads in every epoch, so that every epoch moves
    result = {};
    result.struct_size = sizeof(result);
    inside_step = true;
    ballast_status status = ballast_record_time(context, 1000);
    if (status == BALLAST_OK) status = ballast_step(context, &result);
    inside_step = false;
    return status;
  }

  bool has_spoken = false;  // a line in the log may be allocated

 private:
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
      model.has_spoken = false;
      ASSERT_EQ(model.step(result), BALLAST_OK) << ballast_last_error();
      EXPECT_TRUE(allocations == 0 || model.has_spoken)
          << allocations << " at step " << result.step << ", phase " << result.phase;
      if (result.epoch_closed == 0) continue;
      ++epochs;
      ballast_epoch closed = {};
      closed.struct_size = sizeof(closed);
      EXPECT_EQ(ballast_epoch_report(model.context, 0, &closed), BALLAST_OK);
      moves += closed.moves;
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
  EXPECT_EQ(model.destroy(), BALLAST_OK) << ballast_last_error();
}

}  // namespace
}  // namespace ballast
