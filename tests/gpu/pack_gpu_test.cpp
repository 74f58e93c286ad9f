// Copying experts on the GPU against its host twin: packing, unpacking, and row to row.
#include "kernels/copy_rows.hpp"
#include "kernels/pack.hpp"
#include "tests/gpu/weights_scene.hpp"

namespace ballast {
namespace {

class pack_gpu : public device_test {};

TEST_F(pack_gpu, every_shape_and_alignment_arrives_and_nothing_else_is_written) {
  for (std::uint64_t seed = 0; seed < 80; ++seed) {
    std::mt19937_64 random(seed);
    const int tensors = std::vector{0, 1, 2, 3, 6, 64}[random() % 6];
    const auto experts = static_cast<std::int64_t>(random() % 6);
    const int ctas = std::vector{0, 0, 1, 2, 8}[random() % 5];
    const expert_shape shape = random_shape(tensors, 100000, random);
    const std::uint64_t alignments[] = {1, 2, 4, 8, 16, 256};
    weight_rows from(shape, experts, alignments[random() % 6], random);
    weight_rows to(shape, experts, alignments[random() % 6], random);
    SCOPED_TRACE("seed " + std::to_string(seed));
    std::vector<unsigned char> packed = random_bytes(shape.packed_bytes * experts, random);
    const device_array<unsigned char> device_packed(packed);

    copy_experts_host(shape, from.host(), {nullptr, packed.data()}, experts);
    copy_experts_host(shape, {nullptr, packed.data()}, to.host(), experts);
    check_cuda(copy_experts_device(shape, from.device(), {nullptr, device_packed.data()}, experts,
                                   ctas, stream()),
               "pack");
    check_cuda(copy_experts_device(shape, {nullptr, device_packed.data()}, to.device(), experts,
                                   ctas, stream()),
               "unpack");
    finish();
    ASSERT_EQ(device_packed.get(), packed);
    ASSERT_EQ(to.device_bytes.get(), to.bytes);

    weight_rows direct(shape, experts, 4, random);
    copy_experts_host(shape, from.host(), direct.host(), experts);
    check_cuda(copy_experts_device(shape, from.device(), direct.device(), experts, ctas, stream()),
               "copy");
    finish();
    ASSERT_EQ(direct.device_bytes.get(), direct.bytes);
    ASSERT_EQ(from.device_bytes.get(), from.bytes);
  }
}

TEST_F(pack_gpu, picked_experts_arrive_by_one_launch_and_nothing_else_is_written) {
  for (std::uint64_t seed = 0; seed < 24; ++seed) {
    std::mt19937_64 random(seed);
    const int tensors = std::vector{1, 3, 64}[random() % 3];
    const int count = std::vector{0, 1, 2, 7, picked_experts::most}[random() % 5];
    const expert_shape shape = random_shape(tensors, 50000, random);
    weight_rows from(shape, picked_experts::most + 3, 16, random);
    weight_rows to(shape, picked_experts::most, std::uint64_t{1} << random() % 6, random);
    SCOPED_TRACE("seed " + std::to_string(seed));
    picked_experts sources = {from.device().addresses, {}};
    picked_experts targets = {to.device().addresses, {}};
    for (int i = 0; i < count; ++i) {
      const std::uint64_t source = random() % (picked_experts::most + 3);
      const int target = picked_experts::most - 1 - i;
      sources.first[i] = static_cast<std::uint32_t>(source * tensors);
      targets.first[i] = static_cast<std::uint32_t>(target * tensors);
      copy_experts_host(shape, {from.host_addresses.data() + source * tensors, nullptr},
                        {to.host_addresses.data() + target * tensors, nullptr}, 1);
    }
    check_cuda(copy_picked_device(shape, sources, targets, count, static_cast<int>(random() % 4),
                                  stream()),
               "picked");
    finish();
    ASSERT_EQ(to.device_bytes.get(), to.bytes);
    ASSERT_EQ(from.device_bytes.get(), from.bytes);
  }
}

TEST_F(pack_gpu, short_rows_of_every_size_and_alignment_are_copied_by_one_launch) {
  for (std::uint64_t seed = 0; seed < 40; ++seed) {
    std::mt19937_64 random(seed);
    const int count = std::vector{0, 1, 7, row_copies::most}[random() % 4];
    const std::uint64_t alignments[] = {1, 2, 4, 8, 16, 256};
    const expert_shape shape = random_shape(1, 70000, random);
    weight_rows from(shape, count, alignments[random() % 6], random);
    weight_rows to(shape, count, alignments[random() % 6], random);
    SCOPED_TRACE("seed " + std::to_string(seed));
    row_copies on_host, on_device;
    on_host.count = on_device.count = count;
    for (int i = 0; i < count; ++i) {
      const int source = count - 1 - i;
      on_host.bytes[i] = on_device.bytes[i] =
          static_cast<std::uint32_t>(random() % (shape.bytes[0] + 1));
      on_host.from[i] = from.host_addresses[source];
      on_device.from[i] = from.device_addresses[source];
      on_host.to[i] = to.host_addresses[i];
      on_device.to[i] = to.device_addresses[i];
    }
    copy_rows_host(on_host);
    check_cuda(copy_rows_device(on_device, 1 + static_cast<int>(random() % 8), stream()), "rows");
    finish();
    ASSERT_EQ(to.device_bytes.get(), to.bytes);
    ASSERT_EQ(from.device_bytes.get(), from.bytes);
  }
}

TEST_F(pack_gpu, replays_copy_what_is_there_then) {
  std::mt19937_64 random(1);
  const std::uint64_t sizes[] = {70000, 33};
  const expert_shape shape = shape_of(sizes);
  weight_rows from(shape, 3, 16, random);
  std::vector<unsigned char> packed(shape.packed_bytes * 3, device_array<unsigned char>::poison);
  const device_array<unsigned char> device_packed(packed.size());
  replay(
      3,
      [&] {
        check_cuda(copy_experts_device(shape, from.device(), {nullptr, device_packed.data()}, 3, 0,
                                       stream()),
                   "pack");
      },
      [&](int) {
        random_bytes(from.bytes.size(), random).swap(from.bytes);
        for (std::size_t i = 0, at = 0; i < from.host_addresses.size(); ++i) {
          from.host_addresses[i] = from.bytes.data() + at;
          at += (shape.bytes[i % 2] / 16 + 1) * 16;
        }
        from.device_bytes.set(from.bytes);
        copy_experts_host(shape, from.host(), {nullptr, packed.data()}, 3);
      },
      [&](int) { EXPECT_EQ(device_packed.get(), packed); });
}

}  // namespace
}  // namespace ballast
