// Memory that a context on a GPU cannot use is refused by name, and nothing is written; ids out of
// range are counted and never lead out of bounds.
#include <cuda_runtime_api.h>
#include <gtest/gtest.h>
#include <mpi.h>

#include <memory>
#include <string>
#include <vector>

#include "runtime/ballast.h"
#include "tests/mpi/live_model.hpp"

namespace ballast {
namespace {

constexpr std::size_t row_bytes = 1000;
constexpr int rows = 4;

struct context_release {
  void operator()(ballast_context* context) const { ballast_destroy(context); }
};
using owned_context = std::unique_ptr<ballast_context, context_release>;

struct device_release {
  void operator()(void* memory) const { cudaFree(memory); }
};
using device_memory_owner = std::unique_ptr<void, device_release>;

device_memory_owner device_bytes(std::size_t bytes) {
  void* memory = nullptr;
  EXPECT_EQ(cudaMalloc(&memory, bytes), cudaSuccess);
  cudaMemset(memory, 0, bytes);
  return device_memory_owner(memory);
}

ballast_config one_layer() {
  ballast_config config;
  ballast_config_init(&config);
  config.layers = 1;
  config.experts = 3;
  config.slots_per_rank = rows;
  config.interval = 3;
  use_backend_of_tests(config, rank_of(MPI_COMM_WORLD));
  return config;
}

owned_context make_context(const ballast_config& config) {
  ballast_context* context = nullptr;
  EXPECT_EQ(ballast_create(&config, MPI_COMM_WORLD, &context), BALLAST_OK) << ballast_last_error();
  return owned_context(context);
}

std::string refusal(const ballast_tensor& tensor) {
  const owned_context context = make_context(one_layer());
  const ballast_status status = ballast_register_layer(context.get(), 0, &tensor, 1);
  return status == BALLAST_OK ? "accepted" : ballast_last_error();
}

TEST(gpu_bad_input, memory_that_is_not_the_devices_is_refused) {
  std::vector<char> host(rows * row_bytes);
  EXPECT_NE(refusal({host.data(), row_bytes, row_bytes}).find("is no device memory"),
            std::string::npos);
  void* pinned = nullptr;
  ASSERT_EQ(cudaMallocHost(&pinned, rows * row_bytes), cudaSuccess);
  EXPECT_NE(refusal({pinned, row_bytes, row_bytes}).find("is no device memory"), std::string::npos);
  cudaFreeHost(pinned);
  void* freed = nullptr;
  ASSERT_EQ(cudaMalloc(&freed, std::size_t{64} << 20), cudaSuccess);
  cudaFree(freed);
  EXPECT_NE(refusal({freed, row_bytes, row_bytes}).find("is no device memory"), std::string::npos);
}

TEST(gpu_bad_input, memory_of_another_device_is_refused) {
  int devices = 0;
  cudaGetDeviceCount(&devices);
  if (devices < 2) GTEST_SKIP() << "one GPU";
  const ballast_config config = one_layer();
  cudaSetDevice((config.device + 1) % devices);
  const device_memory_owner there = device_bytes(rows * row_bytes);
  cudaSetDevice(config.device);
  EXPECT_NE(refusal({there.get(), row_bytes, row_bytes}).find("is on device"), std::string::npos);
}

TEST(gpu_bad_input, rows_beyond_their_allocation_and_wrong_strides_are_refused) {
  const device_memory_owner here = device_bytes(std::size_t{4} << 20);
  const std::size_t too_far = (std::size_t{4} << 20) / (rows - 1);
  EXPECT_NE(refusal({here.get(), row_bytes, too_far}).find("the allocation has"),
            std::string::npos);
  EXPECT_NE(refusal({here.get(), row_bytes, row_bytes - 1}).find("rows would overlap"),
            std::string::npos);
  EXPECT_EQ(refusal({here.get(), row_bytes, row_bytes}), "accepted");
}

TEST(gpu_bad_input, staging_that_does_not_fit_is_refused_with_its_size) {
  int devices = 0;
  cudaGetDeviceCount(&devices);
  if (size_of(MPI_COMM_WORLD) > devices) GTEST_SKIP() << "ranks share a GPU";
  const owned_context context = make_context(one_layer());
  std::size_t free = 0;
  std::size_t total = 0;
  ASSERT_EQ(cudaMemGetInfo(&free, &total), cudaSuccess);
  // One expert of a sixth of the device: four rows fit, four more of staging do not.
  const std::size_t large = total / 6;
  void* memory = nullptr;
  if (cudaMalloc(&memory, rows * large) != cudaSuccess) GTEST_SKIP() << "the GPU is in use";
  const device_memory_owner owner(memory);
  const ballast_tensor tensor = {memory, large, large};
  ASSERT_EQ(ballast_register_layer(context.get(), 0, &tensor, 1), BALLAST_OK);
  EXPECT_EQ(ballast_start(context.get()), BALLAST_ERROR_MEMORY);
  EXPECT_NE(std::string(ballast_last_error()).find("bytes of device memory cannot be allocated"),
            std::string::npos)
      << ballast_last_error();
}

// Rows beyond slots_per_layer need no memory: an allocation of exactly the others is enough, though
// what lies behind it cannot be read.
TEST(gpu_bad_input, rows_that_a_layer_does_not_have_are_not_touched) {
  constexpr std::size_t large = std::size_t{64} << 20;
  ballast_config config = one_layer();
  const std::int32_t fewer = rows - 1;
  config.slots_per_layer = &fewer;
  const owned_context context = make_context(config);
  const device_memory_owner weights = device_bytes(fewer * large);
  const ballast_tensor tensor = {weights.get(), large, large};
  ASSERT_EQ(ballast_register_layer(context.get(), 0, &tensor, 1), BALLAST_OK)
      << ballast_last_error();
  EXPECT_EQ(ballast_start(context.get()), BALLAST_OK) << ballast_last_error();
  EXPECT_EQ(cudaDeviceSynchronize(), cudaSuccess);
}

TEST(gpu_bad_input, memory_of_two_layers_that_overlaps_is_refused) {
  ballast_config config = one_layer();
  config.layers = 2;
  const owned_context context = make_context(config);
  const device_memory_owner weights = device_bytes(rows * row_bytes);
  const ballast_tensor tensor = {weights.get(), row_bytes, row_bytes};
  ASSERT_EQ(ballast_register_layer(context.get(), 0, &tensor, 1), BALLAST_OK);
  EXPECT_EQ(ballast_register_layer(context.get(), 1, &tensor, 1), BALLAST_ERROR_INVALID_ARGUMENT);
  EXPECT_NE(std::string(ballast_last_error()).find("rows overlap with layer 0, tensor 0"),
            std::string::npos)
      << ballast_last_error();
}

TEST(gpu_bad_input, host_ids_are_refused_and_ids_out_of_range_are_counted) {
  const owned_context context = make_context(one_layer());
  const device_memory_owner weights = device_bytes(rows * row_bytes);
  const ballast_tensor tensor = {weights.get(), row_bytes, row_bytes};
  ASSERT_EQ(ballast_register_layer(context.get(), 0, &tensor, 1), BALLAST_OK);
  ASSERT_EQ(ballast_start(context.get()), BALLAST_OK) << ballast_last_error();
  const std::vector<std::int32_t> chosen = {0, 7, -1, -5, 2, 1 << 30};
  ballast_ids ids;
  ballast_ids_init(&ids);
  ids.ids = chosen.data();
  ids.tokens = ids.valid_tokens = static_cast<std::int64_t>(chosen.size());
  EXPECT_EQ(ballast_record(context.get(), 0, &ids), BALLAST_ERROR_INVALID_ARGUMENT);
  EXPECT_NE(std::string(ballast_last_error()).find("no device memory"), std::string::npos);

  const device_memory_owner there = device_bytes(chosen.size() * sizeof(chosen[0]));
  const auto refused = [&](const char* why, void* slots_given) {
    EXPECT_EQ(ballast_record_route(context.get(), 0, &ids, BALLAST_ROUTE_SHARES, slots_given),
              BALLAST_ERROR_INVALID_ARGUMENT);
    EXPECT_NE(std::string(ballast_last_error()).find(why), std::string::npos)
        << ballast_last_error();
  };
  std::vector<std::int32_t> host_slots(chosen.size());
  const std::int64_t host_count = 1;
  ids.ids = there.get();
  refused("slots is no device memory", host_slots.data());
  refused("slots is no multiple of 4 bytes", static_cast<std::byte*>(there.get()) + 2);
  ids.valid_tokens_at = &host_count;
  refused("ids.valid_tokens_at is no device memory", there.get());
  ids.valid_tokens_at = nullptr;
  ids.ids = static_cast<std::byte*>(there.get()) + 1;
  refused("ids.ids is no multiple of 4 bytes", there.get());
  cudaMemcpy(there.get(), chosen.data(), chosen.size() * sizeof(chosen[0]), cudaMemcpyHostToDevice);
  const device_memory_owner slots = device_bytes(chosen.size() * sizeof(chosen[0]));
  ids.ids = there.get();
  EXPECT_EQ(ballast_record(context.get(), 0, &ids), BALLAST_OK) << ballast_last_error();
  EXPECT_EQ(ballast_route(context.get(), 0, &ids, BALLAST_ROUTE_SHARES, slots.get()), BALLAST_OK);
  std::vector<std::int32_t> found(chosen.size(), -7);
  cudaMemcpy(found.data(), slots.get(), found.size() * sizeof(found[0]), cudaMemcpyDeviceToHost);
  for (std::size_t i = 0; i < chosen.size(); ++i)
    EXPECT_EQ(found[i] >= 0, chosen[i] >= 0 && chosen[i] < 3) << i;
  ballast_counters counters = {};
  counters.struct_size = sizeof(counters);
  std::int64_t fewest = 0;  // over all ranks, which must make the same calls
  for (int step = 0; step < 10000 && fewest == 0; ++step) {
    ASSERT_EQ(ballast_step(context.get(), nullptr), BALLAST_OK) << ballast_last_error();
    ASSERT_EQ(ballast_read_counters(context.get(), &counters), BALLAST_OK);
    fewest = counters.ids_out_of_range;
    MPI_Allreduce(MPI_IN_PLACE, &fewest, 1, MPI_INT64_T, MPI_MIN, MPI_COMM_WORLD);
  }
  EXPECT_EQ(counters.ids_out_of_range, 3);
}

}  // namespace
}  // namespace ballast
