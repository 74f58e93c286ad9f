// The hash of experts on the GPU against its host twin, for every way the kernel may divide and
// load the bytes.
#include "kernels/hash.hpp"
#include "tests/gpu/weights_scene.hpp"

namespace ballast {
namespace {

class hash_gpu : public device_test {
 protected:
  // Hashes `rows` twice with the same scratch.
  void compare(const expert_shape& shape, weight_rows& rows, std::int64_t experts, int ctas) {
    std::vector<std::uint64_t> expected(experts);
    hash_experts_host(shape, rows.host(), experts, expected.data());
    const std::vector<std::uint64_t> zeros(hash_scratch_size(shape.tensors, experts), 0);
    device_array<std::uint64_t> scratch(zeros);
    for (int time = 0; time < 2; ++time) {
      const device_array<std::uint64_t> hashes(experts);
      check_cuda(hash_experts_device(shape, rows.device(), experts, hashes.data(), scratch.data(),
                                     ctas, stream()),
                 "hash");
      finish();
      ASSERT_EQ(hashes.get(), expected);
      ASSERT_EQ(scratch.get(), zeros);
    }
  }
};

TEST_F(hash_gpu, every_shape_and_alignment_gives_what_the_host_gives) {
  for (std::uint64_t seed = 0; seed < 80; ++seed) {
    std::mt19937_64 random(seed);
    const int tensors = std::vector{0, 1, 2, 3, 6, 64}[random() % 6];
    const auto experts = static_cast<std::int64_t>(random() % 6);
    const std::uint64_t alignment = std::vector{1, 2, 4, 8, 16, 256}[random() % 6];
    const int ctas = std::vector{0, 0, 1, 2, 8}[random() % 5];
    const expert_shape shape = random_shape(tensors, 200000, random);
    SCOPED_TRACE("seed " + std::to_string(seed) + ": " + std::to_string(tensors) + " tensors, " +
                 std::to_string(experts) + " experts, alignment " + std::to_string(alignment) +
                 ", " + std::to_string(ctas) + " CTAs");
    weight_rows rows(shape, experts, alignment, random);
    compare(shape, rows, experts, ctas);
    if (HasFailure()) return;
  }
}

TEST_F(hash_gpu, a_whole_expert_gives_the_same_by_any_number_of_ctas) {
  std::mt19937_64 random(1);
  const std::uint64_t sizes[] = {14680064, 14680064, 14680064,
                                 3584,     3584,     3584};  // 42 MiB of FP8 and its scales
  const expert_shape shape = shape_of(sizes);
  weight_rows rows(shape, 2, 256, random);
  for (const int ctas : {0, 1, 2, 8, 1000}) compare(shape, rows, 2, ctas);
}

TEST_F(hash_gpu, many_experts_are_hashed_by_one_launch) {
  std::mt19937_64 random(2);
  const std::uint64_t sizes[] = {20000, 12, 5000};
  const expert_shape shape = shape_of(sizes);
  weight_rows rows(shape, 1200, 4, random);
  compare(shape, rows, 1200, 0);
}

TEST_F(hash_gpu, picked_experts_have_the_hashes_of_their_rows_in_the_order_of_picking) {
  std::mt19937_64 random(7);
  for (const int tensors : {1, 3, 64}) {
    const expert_shape shape = random_shape(tensors, 50000, random);
    constexpr std::int64_t experts = 40;
    weight_rows rows(shape, experts, 16, random);
    std::vector<std::uint64_t> of_row(experts);
    hash_experts_host(shape, rows.host(), experts, of_row.data());
    device_array<std::uint64_t> scratch(
        std::vector<std::uint64_t>(hash_scratch_size(shape.tensors, picked_experts::most), 0));
    for (const int count : {1, 2, 7, picked_experts::most}) {
      for (const int ctas : {0, 1, 2, 8}) {
        picked_experts picked = {rows.device().addresses, {}};
        std::vector<std::uint64_t> expected;
        for (int i = 0; i < count; ++i) {
          const std::uint64_t row = random() % experts;
          picked.first[i] = static_cast<std::uint32_t>(row * tensors);
          expected.push_back(of_row[row]);
        }
        const device_array<std::uint64_t> hashes(count);
        check_cuda(
            hash_picked_device(shape, picked, count, hashes.data(), scratch.data(), ctas, stream()),
            "hash");
        finish();
        ASSERT_EQ(hashes.get(), expected) << tensors << " tensors, " << ctas << " CTAs";
      }
    }
  }
}

TEST_F(hash_gpu, packed_experts_have_the_hash_of_their_rows) {
  std::mt19937_64 random(3);
  const std::uint64_t sizes[] = {100, 8193, 0, 3};
  const expert_shape shape = shape_of(sizes);
  const std::vector<unsigned char> packed = random_bytes(shape.packed_bytes * 3, random);
  const device_array<unsigned char> device_packed(packed);
  std::vector<std::uint64_t> expected(3);
  hash_experts_host(shape, {nullptr, const_cast<unsigned char*>(packed.data())}, 3,
                    expected.data());
  device_array<std::uint64_t> scratch(
      std::vector<std::uint64_t>(hash_scratch_size(shape.tensors, 3), 0)),
      hashes(3);
  check_cuda(hash_experts_device(shape, {nullptr, device_packed.data()}, 3, hashes.data(),
                                 scratch.data(), 0, stream()),
             "hash");
  finish();
  EXPECT_EQ(hashes.get(), expected);
}

TEST_F(hash_gpu, replays_see_every_changed_byte) {
  std::mt19937_64 random(4);
  const std::uint64_t sizes[] = {30001, 64};
  const expert_shape shape = shape_of(sizes);
  weight_rows rows(shape, 2, 16, random);
  device_array<std::uint64_t> scratch(
      std::vector<std::uint64_t>(hash_scratch_size(shape.tensors, 2), 0)),
      hashes(2);
  replay(
      10,
      [&] {
        check_cuda(hash_experts_device(shape, rows.device(), 2, hashes.data(), scratch.data(), 3,
                                       stream()),
                   "hash");
      },
      [&](int) {
        rows.bytes[random() % 30000] ^= 1;
        rows.device_bytes.set(rows.bytes);
      },
      [&](int) {
        std::vector<std::uint64_t> expected(2);
        hash_experts_host(shape, rows.host(), 2, expected.data());
        EXPECT_EQ(hashes.get(), expected);
      });
}

}  // namespace
}  // namespace ballast
