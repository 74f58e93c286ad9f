// What a replay does on a GPU against its twin on the host: weights, activations, expert FFNs.
#include <mpi.h>

#include <cstring>

#include "jobs/replay/cuda/device_ffn.hpp"
#include "tests/gpu/device_fixture.hpp"

namespace ballast {
namespace {

class replay_gpu : public device_test {
 protected:
  device_weights::allocator allocator() {
    return [this](std::size_t bytes) {
      memory_.emplace_back(bytes);
      return static_cast<void*>(memory_.back().data());
    };
  }
  std::vector<std::byte> row_of(device_weights& weights, int layer, int tensor, int row) {
    const ballast_tensor t = weights.tensors(layer)[tensor];
    std::vector<std::byte> bytes(t.row_bytes);
    check_cuda(cudaMemcpy(bytes.data(), static_cast<std::byte*>(t.base) + row * t.row_stride,
                          bytes.size(), cudaMemcpyDeviceToHost),
               "cudaMemcpy");
    return bytes;
  }

  std::vector<gpu::array<std::byte>> memory_;
};

TEST_F(replay_gpu, weights_are_the_host_s_byte_by_byte) {
  const std::vector<std::size_t> sizes = {24, 7, 1, 129, 100003};
  for (const weight_content content : {weight_content::bytes, weight_content::ternary}) {
    device_weights device({2, 3, sizes, content}, allocator(), stream());
    replay_weights host(2, 3, sizes, content);
    for (int row = 0; row < 3; ++row) {
      device.fill(1, row, 40 + row);
      host.fill(1, row, 40 + row);
    }
    for (int row = 0; row < 3; ++row) {
      EXPECT_EQ(device.wrong_bytes(1, row, 40 + row), 0);
      for (int t = 0; t < static_cast<int>(sizes.size()); ++t) {
        const std::vector<std::byte> bytes = row_of(device, 1, t, row);
        EXPECT_EQ(std::memcmp(bytes.data(), host.address(1, t, row), sizes[t]), 0)
            << "tensor " << t << ", row " << row;
      }
    }
  }
}

TEST_F(replay_gpu, every_wrong_byte_is_counted) {
  device_weights weights({1, 2, {129}, weight_content::bytes}, allocator(), stream());
  weights.fill(0, 0, 5);
  weights.fill(0, 1, 6);
  const ballast_tensor t = weights.tensors(0)[0];
  auto* row = static_cast<std::byte*>(t.base) + t.row_stride;
  for (std::size_t b = 0; b < t.row_bytes; ++b) {
    std::byte value = row_of(weights, 0, 0, 1)[b] ^ std::byte{16};
    check_cuda(cudaMemcpy(row + b, &value, 1, cudaMemcpyHostToDevice), "cudaMemcpy");
    check_cuda(cudaDeviceSynchronize(), "cudaDeviceSynchronize");
    ASSERT_EQ(weights.wrong_bytes(0, 1, 6), static_cast<std::int64_t>(b) + 1);
  }
  EXPECT_EQ(weights.wrong_bytes(0, 0, 5), 0);
}

TEST_F(replay_gpu, routed_ids_are_counted_by_rank) {
  for (const int count : {0, 1, 31, 33, 1000, 70001}) {
    std::vector<std::int32_t> slots(count);
    std::vector<device_counter> expected(5, 100);
    for (int i = 0; i < count; ++i) {
      slots[i] = i * 7 % 16 - 1;
      if (slots[i] >= 0) ++expected[slots[i] / 3];
    }
    const device_array<std::int32_t> on_device(slots);
    const device_array<device_counter> routed(std::vector<device_counter>(5, 100));
    check_cuda(count_routed(on_device.data(), count, 3, routed.data(), stream()), "count_routed");
    finish();
    EXPECT_EQ(routed.get(), expected) << count;
  }
}

// MPI is there for the FFN's constructors; one rank.
class replay_ffn_gpu : public replay_gpu {
 protected:
  static void SetUpTestSuite() { mpi_ = new mpi_session; }
  static void TearDownTestSuite() { delete mpi_; }
  static inline mpi_session* mpi_ = nullptr;
};

TEST_F(replay_ffn_gpu, outputs_are_the_host_s_to_the_bit) {
  if (!has_openblas()) GTEST_SKIP() << "this build has no OpenBLAS";
  constexpr int rows = 5;
  constexpr int columns = 3;
  for (const ffn_shape sizes : {ffn_shape{64, 128}, {2048, 2048}, {33, 17}}) {
    device_weights device({1, rows, ffn_tensor_bytes(sizes), weight_content::ternary}, allocator(),
                          stream());
    replay_weights host(1, rows, ffn_tensor_bytes(sizes), weight_content::ternary);
    for (int row = 0; row < rows; ++row) {
      device.fill(0, row, row);
      host.fill(0, row, row);
    }
    expert_ffn host_ffn(collectives(MPI_COMM_WORLD), sizes, rows);
    device_ffn gpu_ffn(*mpi_, {sizes, rows, columns, 40, 30}, stream());
    for (const int tokens : {40, 1, 0, 17}) {
      std::vector<std::int32_t> slots(tokens * columns);
      for (int i = 0; i < tokens * columns; ++i) slots[i] = i * 11 % (rows + 1) - 1;
      std::vector<float> expected;
      host_ffn.run(host, 0, 7, slots, columns, expected);
      const device_array<std::int32_t> on_device(slots);
      gpu::array<float> outputs;
      gpu_ffn.run(device, {0, 7, on_device.data(), tokens}, outputs);
      finish();
      std::vector<float> found = outputs.to_host();
      found.resize(expected.size());
      EXPECT_EQ(found, expected) << sizes.hidden << " x " << sizes.intermediate << ", " << tokens;
    }
  }
}

}  // namespace
}  // namespace ballast
