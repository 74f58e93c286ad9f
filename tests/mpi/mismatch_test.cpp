// One rank that differs from the others: in a field, by a wrong argument, in its weights. Every
// rank gets the same status and the same text, which names the field and the rank, and none is left
// waiting.
#include <gtest/gtest.h>

#include <functional>
#include <limits>
#include <memory>
#include <vector>

#include "tests/mpi/live_model.hpp"

namespace ballast {
namespace {

using change = std::function<void(ballast_config&)>;

int ranks() { return size_of(MPI_COMM_WORLD); }
int odd_rank() { return ranks() - 1; }
bool is_odd() { return rank_of(MPI_COMM_WORLD) == odd_rank(); }
bool alone() { return ranks() == 1; }
std::string odd_text() { return "rank " + std::to_string(odd_rank()); }

void expect_error(ballast_status got, ballast_status wanted,
                  const std::vector<std::string>& parts) {
  const std::string text = ballast_last_error();
  EXPECT_EQ(got, wanted) << text;
  EXPECT_TRUE(same_everywhere(MPI_COMM_WORLD, std::uint64_t(-got))) << ballast_status_name(got);
  EXPECT_TRUE(same_everywhere(MPI_COMM_WORLD, text)) << text;
  for (const std::string& part : parts)
    EXPECT_NE(text.find(part), std::string::npos) << "\"" << part << "\" is not in: " << text;
  EXPECT_EQ(text.find('\n'), std::string::npos) << text;
}

// Creates with a change on one rank only.
void expect_create_fails(const change& differ, ballast_status wanted,
                         const std::vector<std::string>& parts) {
  ballast_config config = small_config(ranks());
  config.deadline_seconds = 20;
  if (is_odd()) differ(config);
  ballast_context* context = nullptr;
  const ballast_status status = ballast_create(&config, MPI_COMM_WORLD, &context);
  expect_error(status, wanted, parts);
  EXPECT_EQ(context, nullptr) << "an output was written";
}

TEST(mismatch, a_field_that_differs_is_named_with_its_ranks) {
  if (alone()) GTEST_SKIP() << "one rank has nobody to differ from";
  const ballast_config all = small_config(ranks());
  const std::vector<std::int64_t> past_loads(static_cast<std::size_t>(all.layers) * all.experts, 3);
  const std::vector<std::pair<const char*, change>> changes = {
      {"layers", [](ballast_config& c) { ++c.layers; }},
      {"experts", [](ballast_config& c) { --c.experts; }},
      {"slots_per_rank", [](ballast_config& c) { ++c.slots_per_rank; }},
      {"spare_rows", [](ballast_config& c) { ++c.spare_rows; }},
      {"groups", [](ballast_config& c) { c.groups = c.experts; }},
      {"compatible", [](ballast_config& c) { c.compatible = 1; }},
      {"equal_shares", [](ballast_config& c) { c.equal_shares = 1; }},
      {"mode", [](ballast_config& c) { c.mode = BALLAST_MODE_RECORD; }},
      {"way", [](ballast_config& c) { c.way = BALLAST_WAY_STAGED; }},
      {"verify", [](ballast_config& c) { c.verify = BALLAST_VERIFY_OFF; }},
      {"consensus_lag", [](ballast_config& c) { c.consensus_lag = 3; }},
      {"interval", [](ballast_config& c) { ++c.interval; }},
      {"window", [](ballast_config& c) { c.window = 3; }},
      {"balance_min_permille", [](ballast_config& c) { c.balance_min_permille = 900; }},
      {"gain_min_permille", [](ballast_config& c) { c.gain_min_permille = 6; }},
      {"max_moves", [](ballast_config& c) { c.max_moves = 0; }},
      {"max_bytes", [](ballast_config& c) { c.max_bytes = std::int64_t{1} << 40; }},
      {"staging_experts", [](ballast_config& c) { ++c.staging_experts; }},
      {"receives_per_batch", [](ballast_config& c) { --c.receives_per_batch; }},
      {"bytes_per_step", [](ballast_config& c) { c.bytes_per_step = 1; }},
      {"seed", [](ballast_config& c) { c.seed = ~c.seed; }},
      {"deadline_seconds", [](ballast_config& c) { c.deadline_seconds = 20.5; }},
      {"policy", [](ballast_config& c) { c.policy = "random"; }},
      {"past_window_count",
       [&](ballast_config& c) {
         c.past_window_count = 1;
         c.past_windows = past_loads.data();
       }},
  };
  for (const auto& [field, differ] : changes) {
    SCOPED_TRACE(field);
    expect_create_fails(differ, BALLAST_ERROR_CONFIG_MISMATCH,
                        {field, "differs", "on rank 0", "on " + odd_text()});
  }
}

TEST(mismatch, what_is_said_of_layers_and_ranks) {
  if (alone()) GTEST_SKIP() << "one rank has nobody to differ from";
  const std::int32_t slots = small_config(ranks()).slots_per_rank;
  const std::vector<std::int32_t> layers = {slots, slots - 1, slots};
  const std::vector<std::int32_t> speed(static_cast<std::size_t>(ranks()), 7);
  std::vector<std::uint8_t> masked(static_cast<std::size_t>(ranks()), BALLAST_RANK_SERVES);
  masked[0] = BALLAST_RANK_DRAINING;
  expect_create_fails([&](ballast_config& c) { c.slots_per_layer = layers.data(); },
                      BALLAST_ERROR_CONFIG_MISMATCH, {"differs", "on rank 0", "on " + odd_text()});
  expect_create_fails([&](ballast_config& c) { c.rank_speed = speed.data(); },
                      BALLAST_ERROR_CONFIG_MISMATCH, {"rank_speed", "on " + odd_text()});
  // On two ranks the other has too few slots for all experts.
  if (ranks() > 2) {
    expect_create_fails([&](ballast_config& c) { c.masked_ranks = masked.data(); },
                        BALLAST_ERROR_CONFIG_MISMATCH,
                        {"differs", "on rank 0", "on " + odd_text()});
  }
}

TEST(mismatch, a_placement_or_its_shares_that_differ) {
  if (alone()) GTEST_SKIP() << "one rank has nobody to differ from";
  const ballast_config config = small_config(ranks());
  const std::size_t slots = static_cast<std::size_t>(config.slots_per_rank) * ranks();
  std::vector<std::int32_t> experts(config.layers * slots, -1);
  std::vector<std::int32_t> shares(experts.size(), 0);
  // Expert 0 once more in the last slot of rank 0 and of the last rank: three replicas at most.
  for (int layer = 0; layer < config.layers; ++layer) {
    for (int e = 0; e < config.experts; ++e) {
      const std::size_t slot =
          static_cast<std::size_t>(e % ranks()) * config.slots_per_rank + e / ranks();
      experts[layer * slots + slot] = e;
      shares[layer * slots + slot] = 65536;
    }
    experts[(layer + 1) * slots - 1] = 0;
    shares[(layer + 1) * slots - 1] = 30000;
    shares[layer * slots] = 65536 - 30000;
  }
  const auto give = [&](ballast_config& c) {
    c.placement = experts.data();
    c.shares = shares.data();
  };
  expect_create_fails(give, BALLAST_ERROR_CONFIG_MISMATCH,
                      {"placement", "on rank 0", "on " + odd_text()});

  // All give one, and the odd rank's differs in one share.
  ballast_config mine = config;
  if (is_odd()) {
    ++shares[0];
    --shares[slots - 1];
  }
  give(mine);
  ballast_context* context = nullptr;
  expect_error(ballast_create(&mine, MPI_COMM_WORLD, &context), BALLAST_ERROR_CONFIG_MISMATCH,
               {"placement", "on " + odd_text()});
}

TEST(mismatch, a_topology_that_differs) {
  if (alone()) GTEST_SKIP() << "one rank has nobody to differ from";
  ballast_topology* all_near = nullptr;
  ballast_topology* all_far = nullptr;
  EXPECT_EQ(ballast_topology_imitate(ranks(), ranks(), nullptr, &all_near), BALLAST_OK);
  EXPECT_EQ(ballast_topology_imitate(ranks(), 1, nullptr, &all_far), BALLAST_OK);
  expect_create_fails([&](ballast_config& c) { c.topology = all_near; },
                      BALLAST_ERROR_CONFIG_MISMATCH, {"topology", "on " + odd_text()});
  ballast_config config = small_config(ranks());
  config.topology = is_odd() ? all_far : all_near;
  ballast_context* context = nullptr;
  expect_error(ballast_create(&config, MPI_COMM_WORLD, &context), BALLAST_ERROR_CONFIG_MISMATCH,
               {"topology", "on " + odd_text()});
  ballast_topology_destroy(all_near);
  ballast_topology_destroy(all_far);
}

TEST(mismatch, an_invalid_field_on_one_rank_fails_all) {
  static const std::vector<std::int32_t> nobody(4096, -1);
  static const std::vector<std::int32_t> unknown(4096, 99);
  const std::vector<std::pair<const char*, change>> changes = {
      {"layers is 0", [](ballast_config& c) { c.layers = 0; }},
      {"layers is -1", [](ballast_config& c) { c.layers = -1; }},
      {"layers is 4097", [](ballast_config& c) { c.layers = 4097; }},
      {"experts is 0", [](ballast_config& c) { c.experts = 0; }},
      {"experts is 65537", [](ballast_config& c) { c.experts = 65537; }},
      {"slots_per_rank is 0", [](ballast_config& c) { c.slots_per_rank = 0; }},
      {"fewer than 13 experts", [](ballast_config& c) { c.slots_per_rank = 12 / ranks(); }},
      {"spare_rows is -1", [](ballast_config& c) { c.spare_rows = -1; }},
      {"groups is 0", [](ballast_config& c) { c.groups = 0; }},
      {"mode is 3", [](ballast_config& c) { c.mode = 3; }},
      {"way is 4", [](ballast_config& c) { c.way = 4; }},
      {"verify is -1", [](ballast_config& c) { c.verify = -1; }},
      {"consensus_lag is 0", [](ballast_config& c) { c.consensus_lag = 0; }},
      {"consensus_lag is 17", [](ballast_config& c) { c.consensus_lag = 17; }},
      {"interval is 0", [](ballast_config& c) { c.interval = 0; }},
      {"window is -1", [](ballast_config& c) { c.window = -1; }},
      {"window is 4000000000000000000", [](ballast_config& c) { c.window = 4000000000000000000; }},
      {"balance_min_permille is 1001", [](ballast_config& c) { c.balance_min_permille = 1001; }},
      {"gain_min_permille is -1", [](ballast_config& c) { c.gain_min_permille = -1; }},
      {"max_moves is -2", [](ballast_config& c) { c.max_moves = -2; }},
      {"max_bytes is -2", [](ballast_config& c) { c.max_bytes = -2; }},
      {"staging_experts is 0", [](ballast_config& c) { c.staging_experts = 0; }},
      {"receives_per_batch is 0", [](ballast_config& c) { c.receives_per_batch = 0; }},
      {"bytes_per_step is -2", [](ballast_config& c) { c.bytes_per_step = -2; }},
      {"planner_threads is 0", [](ballast_config& c) { c.planner_threads = 0; }},
      {"deadline_seconds is 0", [](ballast_config& c) { c.deadline_seconds = 0; }},
      {"deadline_seconds is nan",
       [](ballast_config& c) { c.deadline_seconds = std::numeric_limits<double>::quiet_NaN(); }},
      {"policy is no-such", [](ballast_config& c) { c.policy = "no-such"; }},
      {"policy is ", [](ballast_config& c) { c.policy = ""; }},
      {"drill is nonsense", [](ballast_config& c) { c.drill = "nonsense"; }},
      {"drill is none:0:0", [](ballast_config& c) { c.drill = "none:0:0"; }},
      {"drill is digest:-1:0", [](ballast_config& c) { c.drill = "digest:-1:0"; }},
      {"drill is digest:0:", [](ballast_config& c) { c.drill = "digest:0:"; }},
      {"drill rank is 99", [](ballast_config& c) { c.drill = "digest:99:0"; }},
      {"shares", [](ballast_config& c) { c.shares = nobody.data(); }},
      {"placement: ", [](ballast_config& c) { c.placement = nobody.data(); }},
      {"layer 0, slot 0 holds expert 99", [](ballast_config& c) { c.placement = unknown.data(); }},
      {"config.struct_size is 0", [](ballast_config& c) { c.struct_size = 0; }},
      {"config.struct_size is", [](ballast_config& c) { c.struct_size += 8; }},
  };
  for (const auto& [text, differ] : changes) {
    SCOPED_TRACE(text);
    expect_create_fails(differ, BALLAST_ERROR_INVALID_ARGUMENT, {text, odd_text()});
  }
}

TEST(mismatch, a_topology_of_another_size_on_one_rank_fails_all) {
  ballast_topology* larger = nullptr;
  EXPECT_EQ(ballast_topology_imitate(ranks() + 1, 2, nullptr, &larger), BALLAST_OK);
  expect_create_fails([&](ballast_config& c) { c.topology = larger; },
                      BALLAST_ERROR_INVALID_ARGUMENT,
                      {"topology has " + std::to_string(ranks() + 1) + " ranks", odd_text()});
  ballast_topology_destroy(larger);
}

TEST(mismatch, a_missing_pointer_on_one_rank_fails_all) {
  const ballast_config config = small_config(ranks());
  ballast_context* context = nullptr;
  expect_error(ballast_create(is_odd() ? nullptr : &config, MPI_COMM_WORLD, &context),
               BALLAST_ERROR_INVALID_ARGUMENT, {"config is NULL", odd_text()});
  expect_error(ballast_create(&config, MPI_COMM_WORLD, is_odd() ? nullptr : &context),
               BALLAST_ERROR_INVALID_ARGUMENT, {"context is NULL", odd_text()});
  EXPECT_EQ(context, nullptr);
}

TEST(mismatch, no_communicator_is_an_error_and_not_the_end_of_the_job) {
  const ballast_config config = small_config(ranks());
  ballast_context* context = nullptr;
  EXPECT_EQ(ballast_create(&config, MPI_COMM_NULL, &context), BALLAST_ERROR_INVALID_ARGUMENT);
  EXPECT_STREQ(ballast_last_error(), "comm is MPI_COMM_NULL");
}

TEST(mismatch, an_intercommunicator_is_refused) {
  if (alone()) GTEST_SKIP() << "two groups need two ranks";
  const int rank = rank_of(MPI_COMM_WORLD);
  const int group = rank == 0 ? 0 : 1;
  MPI_Comm half = MPI_COMM_NULL;
  MPI_Comm both = MPI_COMM_NULL;
  MPI_Comm_split(MPI_COMM_WORLD, group, rank, &half);
  MPI_Intercomm_create(half, 0, MPI_COMM_WORLD, 1 - group, 0, &both);
  const ballast_config config = small_config(ranks());
  ballast_context* context = nullptr;
  expect_error(ballast_create(&config, both, &context), BALLAST_ERROR_INVALID_ARGUMENT,
               {"comm is an intercommunicator"});
  EXPECT_EQ(context, nullptr);
  ballast_topology* topology = nullptr;
  expect_error(ballast_topology_create(both, nullptr, 0, &topology), BALLAST_ERROR_INVALID_ARGUMENT,
               {"comm is an intercommunicator"});
  EXPECT_EQ(topology, nullptr);
  MPI_Comm_free(&both);
  MPI_Comm_free(&half);
}

TEST(mismatch, what_the_policy_cannot_plan_is_refused) {
  ballast_config config = small_config(ranks());
  config.policy = "deepseek-hierarchical";
  config.groups = 5;  // of 13 experts
  ballast_context* context = nullptr;
  expect_error(ballast_create(&config, MPI_COMM_WORLD, &context), BALLAST_ERROR_INVALID_ARGUMENT,
               {"policy deepseek-hierarchical", "groups"});
  config = small_config(ranks());
  config.compatible = 1;
  config.spare_rows = 1;
  expect_error(ballast_create(&config, MPI_COMM_WORLD, &context), BALLAST_ERROR_INVALID_ARGUMENT,
               {"compatible"});
  EXPECT_EQ(context, nullptr);
}

TEST(mismatch, no_policy_means_the_default) {
  ballast_config config = small_config(ranks());
  config.policy = is_odd() ? nullptr : BALLAST_DEFAULT_POLICY;
  ballast_context* context = nullptr;
  EXPECT_EQ(ballast_create(&config, MPI_COMM_WORLD, &context), BALLAST_OK) << ballast_last_error();
  EXPECT_EQ(ballast_destroy(context), BALLAST_OK);
}

// A context up to ballast_start, with weights in place.
struct stage {
  ballast_context* context = nullptr;
  std::unique_ptr<made_up_weights> weights;
  ballast_config config = small_config(ranks());

  stage() {
    EXPECT_EQ(ballast_create(&config, MPI_COMM_WORLD, &context), BALLAST_OK)
        << ballast_last_error();
    weights = std::make_unique<made_up_weights>(config.layers, config.slots_per_rank);
    ballast_layer_tables t;
    t.struct_size = sizeof(t);
    for (int layer = 0; layer < config.layers; ++layer) {
      EXPECT_EQ(ballast_tables(context, layer, &t), BALLAST_OK);
      for (int row = 0; row < config.slots_per_rank; ++row) {
        weights->fill(layer, row,
                      t.expert_of_slot[rank_of(MPI_COMM_WORLD) * config.slots_per_rank + row]);
      }
    }
  }
  ~stage() { EXPECT_EQ(ballast_destroy(context), BALLAST_OK) << ballast_last_error(); }

  void add(int layer, const std::vector<ballast_tensor>& tensors) {
    EXPECT_EQ(ballast_register_layer(context, layer, tensors.data(),
                                     static_cast<std::int32_t>(tensors.size())),
              BALLAST_OK)
        << ballast_last_error();
  }
  void expect_unusable() {
    EXPECT_EQ(ballast_step(context, nullptr), BALLAST_ERROR_STATE);
    EXPECT_EQ(ballast_start(context), BALLAST_ERROR_STATE);
  }
};

TEST(mismatch, a_layer_that_one_rank_did_not_register) {
  stage s;
  for (int layer = 0; layer < s.config.layers; ++layer) {
    if (layer != 1 || !is_odd()) s.add(layer, s.weights->tensors(layer));
  }
  expect_error(ballast_start(s.context), BALLAST_ERROR_STATE, {"layer 1", odd_text()});
  s.expect_unusable();
}

TEST(mismatch, tensor_sizes_that_differ) {
  if (alone()) GTEST_SKIP() << "one rank has nobody to differ from";
  for (const int kind : {0, 1, 2}) {
    SCOPED_TRACE("kind " + std::to_string(kind));
    stage s;
    for (int layer = 0; layer < s.config.layers; ++layer) {
      std::vector<ballast_tensor> tensors = s.weights->tensors(layer);
      if (layer == 2 && is_odd()) {
        if (kind == 0) --tensors[0].row_bytes;
        if (kind == 1) tensors.pop_back();
        if (kind == 2) std::swap(tensors[0], tensors[1]);
      }
      s.add(layer, tensors);
    }
    expect_error(ballast_start(s.context), BALLAST_ERROR_CONFIG_MISMATCH, {"layer 2", "tensors"});
    s.expect_unusable();
  }
}

TEST(mismatch, other_strides_are_no_difference) {
  stage s;
  std::vector<std::uint8_t> copy;
  for (int layer = 0; layer < s.config.layers; ++layer) {
    std::vector<ballast_tensor> tensors = s.weights->tensors(layer);
    if (layer == 0 && is_odd()) {
      const ballast_tensor old = tensors[0];
      tensors[0].row_stride += 100;
      copy.resize(tensors[0].row_stride * s.config.slots_per_rank);
      for (int row = 0; row < s.config.slots_per_rank; ++row) {
        std::copy_n(static_cast<std::uint8_t*>(old.base) + row * old.row_stride, old.row_bytes,
                    copy.data() + row * tensors[0].row_stride);
      }
      tensors[0].base = copy.data();
    }
    s.add(layer, tensors);
  }
  EXPECT_EQ(ballast_start(s.context), BALLAST_OK) << ballast_last_error();
}

TEST(mismatch, replicas_of_different_bytes) {
  stage s;
  ballast_layer_tables t;
  t.struct_size = sizeof(t);
  ballast_tables(s.context, 1, &t);
  // An expert of this model that has two replicas, one of them on the last rank.
  const int slots = s.config.slots_per_rank * ranks();
  const int slot = slots - 1;
  const int expert = t.expert_of_slot[slot];
  ASSERT_GT(t.replica_first[expert + 1] - t.replica_first[expert], 1);
  for (int layer = 0; layer < s.config.layers; ++layer) {
    const std::vector<ballast_tensor> tensors = s.weights->tensors(layer);
    if (layer == 1 && is_odd()) {
      const ballast_tensor& last = tensors.back();
      static_cast<std::uint8_t*>(
          last.base)[(s.config.slots_per_rank - 1) * last.row_stride + last.row_bytes - 1] ^= 0x80;
    }
    s.add(layer, tensors);
  }
  expect_error(ballast_start(s.context), BALLAST_ERROR_CONFIG_MISMATCH,
               {"layer 1", "expert " + std::to_string(expert), "ranks", std::to_string(odd_rank()),
                "different bytes"});
  s.expect_unusable();
}

}  // namespace
}  // namespace ballast
