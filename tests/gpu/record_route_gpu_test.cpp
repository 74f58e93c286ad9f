// record, route and both in one pass against their host twins: the same counts, the same slots, bit
// for bit.
#include <algorithm>

#include "tests/gpu/device_fixture.hpp"
#include "tests/gpu/routing_scene.hpp"

namespace ballast {
namespace {

constexpr route_mode all_modes[] = {route_mode::shares, route_mode::local, route_mode::round_robin,
                                    route_mode::uniform, route_mode::rank_invariant};

struct shape {
  std::int64_t tokens, valid_tokens;
  std::int32_t columns, shared_columns;
  int experts;
  std::size_t offset = 0;  // of ids and slots, in ids
};

// One set of ids and tables on both sides, and the expected answers.
template <typename Id>
struct scene {
  scene(const shape& s, const std::vector<Id>& id_values, std::mt19937_64& random)
      : ids(id_values),
        host_tables(random_tables(s.experts, ranks * rows, false, random)),
        start(s.experts),
        device_ids(ids, s.offset),
        device_first(host_tables.first),
        device_slot(host_tables.slot),
        device_share_end(host_tables.share_end),
        device_node(node_of_rank),
        device_counts_(s.experts),
        device_outside(1),
        device_slots(ids.size(), s.offset) {
    for (std::int64_t& count : start) count = static_cast<std::int64_t>(random() % 1000);
    host = {ids.data(), sizeof(Id) == 8, s.columns, s.shared_columns, s.tokens, s.valid_tokens};
    matrix = host;
    matrix.ids = device_ids.data();
    tables = {s.experts, device_first.data(), device_slot.data(), device_share_end.data(),
              random() % 3 == 0 ? 0 : static_cast<std::int32_t>(host_tables.slot.size())};
    into = {s.experts, device_counts_.data(), device_outside.data()};
    origin = {static_cast<std::int32_t>(random() % ranks), rows, node_of_rank.data(),
              static_cast<std::int64_t>(random() >> 4)};
    reset();
  }

  void reset() {
    device_counts_.set(start);
    device_outside.set({outside_start});
    device_slots.set(std::vector<Id>(ids.size(), 77));
  }

  route_origin device_origin() const {
    return {origin.rank, origin.rows_per_rank, device_node.data(), origin.step};
  }

  void expect_counts() const {
    std::vector<std::int64_t> expected = start;
    std::vector<std::uint32_t> scratch(record_scratch_size(tables.experts), 0);
    const std::int64_t outside = record_host(host, expected, scratch);
    EXPECT_EQ(device_counts_.get(), expected);
    EXPECT_EQ(device_outside.get()[0], outside_start + outside);
  }

  void expect_slots(route_mode mode) const {
    std::vector<Id> expected(ids.size(), 88);
    route_host(host, host_tables.get(), origin, mode, expected.data());
    EXPECT_EQ(device_slots.get(), expected) << "mode " << static_cast<int>(mode);
  }

  static constexpr int ranks = 6, rows = 60;
  static constexpr std::int64_t outside_start = 5;
  std::vector<Id> ids;
  layer_tables host_tables;
  std::vector<std::int32_t> node_of_rank = {0, 0, 1, 1, 2, 2};
  std::vector<std::int64_t> start;
  device_array<Id> device_ids;
  device_array<std::int32_t> device_first, device_slot, device_share_end, device_node;
  device_array<std::int64_t> device_counts_, device_outside;
  device_array<Id> device_slots;
  id_matrix host, matrix;
  route_tables tables;
  device_counts into;
  route_origin origin;
};

template <typename Id>
class record_route_gpu : public device_test {
 protected:
  static std::string text(const shape& s) {
    return std::to_string(s.tokens) + " tokens, " + std::to_string(s.valid_tokens) + " valid, " +
           std::to_string(s.columns) + " columns, " + std::to_string(s.shared_columns) +
           " shared, " + std::to_string(s.experts) + " experts, offset " + std::to_string(s.offset);
  }

  // All three launchers on one shape.
  void compare(const shape& s, const std::vector<Id>& ids, std::uint64_t seed) {
    SCOPED_TRACE("seed " + std::to_string(seed) + ": " + text(s));
    std::mt19937_64 random(seed);
    scene<Id> one(s, ids, random);
    check_cuda(record_device(one.matrix, one.into, {}, this->stream()), "record");
    this->finish();
    one.expect_counts();
    for (const route_mode mode : all_modes) {
      one.reset();
      check_cuda(route_device(one.matrix, one.tables, one.device_origin(), mode,
                              one.device_slots.data(), {}, this->stream()),
                 "route");
      this->finish();
      one.expect_slots(mode);
      one.reset();
      check_cuda(record_route_device(one.matrix, one.into, one.tables, one.device_origin(), mode,
                                     one.device_slots.data(), {}, this->stream()),
                 "record_route");
      this->finish();
      one.expect_slots(mode);
      one.expect_counts();
    }
  }
};

using id_types = testing::Types<std::int32_t, std::int64_t>;
TYPED_TEST_SUITE(record_route_gpu, id_types);

TYPED_TEST(record_route_gpu, every_shape_gives_what_the_host_gives) {
  for (std::uint64_t seed = 0; seed < 60; ++seed) {
    std::mt19937_64 random(seed);
    shape s;
    s.experts = std::vector{1, 2, 3, 64, 256, 257, 1000, 1024}[random() % 8];
    s.columns = static_cast<std::int32_t>(1 + random() % 9);
    s.shared_columns = static_cast<std::int32_t>(random() % (s.columns + 1));
    s.tokens = std::vector{0, 1, 2, 3, 31, 32, 33, 127, 1021, 8192, 20011}[random() % 11];
    s.valid_tokens =
        random() % 2 == 0 ? s.tokens : static_cast<std::int64_t>(random() % (s.tokens + 1));
    s.offset = random() % 4;
    this->compare(s, random_ids<TypeParam>(s.tokens * s.columns, s.experts, 8, random), seed);
    if (this->HasFailure()) return;
  }
}

TYPED_TEST(record_route_gpu, a_million_tokens_are_counted_and_routed) {
  std::mt19937_64 random(1);
  const shape s = {1000003, 999983, 8, 0, 256};
  this->compare(s, random_ids<TypeParam>(s.tokens * s.columns, s.experts, 100, random), 1);
}

TYPED_TEST(record_route_gpu, one_hot_expert_gets_all) {
  const shape s = {8192, 8192, 8, 0, 256};
  this->compare(s, std::vector<TypeParam>(8192 * 8, 200), 2);
}

TYPED_TEST(record_route_gpu, more_experts_than_fit_shared_memory_are_counted) {
  std::mt19937_64 random(3);
  for (const int experts : {12286, 12287, 65536}) {
    const shape s = {3001, 3000, 7, 1, experts};
    this->compare(s, random_ids<TypeParam>(s.tokens * s.columns, s.experts, 10, random), 3);
  }
}

TYPED_TEST(record_route_gpu, routing_in_place_gives_the_same) {
  std::mt19937_64 random(4);
  const shape s = {5003, 4999, 9, 1, 64};
  const auto ids = random_ids<TypeParam>(s.tokens * s.columns, s.experts, 10, random);
  scene<TypeParam> one(s, ids, random);
  one.device_slots.set(ids);
  one.matrix.ids = one.device_slots.data();
  check_cuda(record_route_device(one.matrix, one.into, one.tables, one.device_origin(),
                                 route_mode::shares, one.device_slots.data(), {}, this->stream()),
             "record_route");
  this->finish();
  one.expect_slots(route_mode::shares);
  one.expect_counts();
}

TYPED_TEST(record_route_gpu, a_replayed_graph_follows_ids_step_and_valid_tokens) {
  std::mt19937_64 random(5);
  const shape s = {1021, 1021, 8, 1, 256};
  scene<TypeParam> one(s, random_ids<TypeParam>(s.tokens * s.columns, s.experts, 10, random),
                       random);
  device_array<std::int64_t> valid(1), step(1);
  const replay_values replay_from = {valid.data(), step.data()};
  const std::int64_t valids[] = {1021, 0, 7, 500, -3, 100000};
  this->replay(
      6,
      [&] {
        check_cuda(record_route_device(one.matrix, one.into, one.tables, one.device_origin(),
                                       route_mode::shares, one.device_slots.data(), replay_from,
                                       this->stream()),
                   "record_route");
      },
      [&](int i) {
        one.ids = random_ids<TypeParam>(s.tokens * s.columns, s.experts, 10, random);
        one.device_ids.set(one.ids);
        one.host.ids = one.ids.data();
        one.host.valid_tokens = std::clamp<std::int64_t>(valids[i], 0, s.tokens);
        one.origin.step = i * 1000;
        valid.set({valids[i]});
        step.set({one.origin.step});
        one.reset();
      },
      [&](int i) {
        SCOPED_TRACE("replay " + std::to_string(i));
        one.expect_slots(route_mode::shares);
        one.expect_counts();
      });
}

TYPED_TEST(record_route_gpu, errors_left_behind_by_others_are_not_taken_for_a_launch) {
  std::mt19937_64 random(6);
  const shape s = {100, 100, 8, 0, 16};
  scene<TypeParam> one(s, random_ids<TypeParam>(s.tokens * s.columns, s.experts, 10, random),
                       random);
  EXPECT_NE(cudaMemcpy(nullptr, one.device_ids.data(), 1, static_cast<cudaMemcpyKind>(99)),
            cudaSuccess);  // leaves its error behind
  EXPECT_EQ(record_device(one.matrix, one.into, {}, this->stream()), 0);
  this->finish();
  cudaGetLastError();
  one.expect_counts();
}

}  // namespace
}  // namespace ballast
