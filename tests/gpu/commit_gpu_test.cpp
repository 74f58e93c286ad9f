// commit against its host twin.
#include <random>

#include "kernels/commit.hpp"
#include "tests/gpu/device_fixture.hpp"

namespace ballast {
namespace {

class commit_gpu : public device_test {};

// Tables of many sizes, one behind the other in one array on each side, with a list of copies for
// each side.
TEST_F(commit_gpu, all_tables_arrive_and_nothing_else_is_written) {
  std::mt19937_64 random(3);
  const std::vector<std::int64_t> sizes = {257, 288, 0, 1, 5000, 3, 70001};
  std::int64_t all = 0;
  for (const std::int64_t size : sizes) all += size + 1;
  std::vector<std::int32_t> from(all), to(all, -7);
  for (std::int32_t& value : from) value = static_cast<std::int32_t>(random());
  device_array<std::int32_t> device_from(from), device_to(to);
  std::vector<table_copy> copies, device_copies;
  std::int64_t at = 0;
  for (const std::int64_t size : sizes) {
    copies.push_back({from.data() + at, to.data() + at, size});
    device_copies.push_back({device_from.data() + at, device_to.data() + at, size});
    at += size + 1;
  }
  commit_tables_host(copies);
  const device_array<table_copy> list(device_copies);
  const auto count = static_cast<std::int32_t>(sizes.size());
  replay(
      2, [&] { check_cuda(commit_tables_device(list.data(), count, stream()), "commit"); },
      [&](int) { device_to.set(std::vector<std::int32_t>(all, -7)); },
      [&](int) { EXPECT_EQ(device_to.get(), to); });
  EXPECT_EQ(device_from.get(), from);
}

TEST_F(commit_gpu, tables_in_pinned_memory_are_read_and_no_table_is_no_launch) {
  std::int32_t* pinned = nullptr;
  check_cuda(cudaMallocHost(&pinned, 64 * sizeof(std::int32_t) + sizeof(table_copy)),
             "cudaMallocHost");
  std::vector<std::int32_t> expected(64);
  for (int i = 0; i < 64; ++i) pinned[i] = expected[i] = 3 * i + 1;
  const device_array<std::int32_t> to(64);
  auto* list = reinterpret_cast<table_copy*>(pinned + 64);
  *list = {pinned, to.data(), 64};
  check_cuda(commit_tables_device(list, 1, stream()), "commit");
  check_cuda(commit_tables_device(nullptr, 0, stream()), "commit of nothing");
  finish();
  EXPECT_EQ(to.get(), expected);
  check_cuda(cudaFreeHost(pinned), "cudaFreeHost");
}

}  // namespace
}  // namespace ballast
