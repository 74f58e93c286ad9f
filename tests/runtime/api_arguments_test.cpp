// The C interface when it is called wrongly: every function names the argument, struct, state or
// index that is wrong, writes nothing, and the process lives.
#include <cstring>
#include <limits>
#include <thread>

#include "tests/runtime/api_engine.hpp"

namespace ballast::testing {
namespace {

// What a failing call must leave as it was.
template <typename Struct>
struct untouched {
  Struct value;
  Struct before;
  explicit untouched(std::size_t struct_size) {
    std::memset(static_cast<void*>(&value), 0xa5, sizeof(value));
    value.struct_size = struct_size;
    std::memcpy(static_cast<void*>(&before), &value, sizeof(value));
  }
  bool holds() const { return std::memcmp(&value, &before, sizeof(value)) == 0; }
};

std::string wrong_size(const std::string& name, std::size_t size, std::size_t known) {
  return "invalid argument: " + name + ".struct_size is " + std::to_string(size) +
         ", this library knows " + std::to_string(known) + " to " + std::to_string(known) +
         ": call its initialiser, or set it to sizeof";
}

template <typename Struct, typename Call>
void expect_sizes_refused(const char* name, Call&& call) {
  for (const std::size_t size : {std::size_t{0}, sizeof(Struct) - 1, sizeof(Struct) + 1,
                                 std::numeric_limits<std::size_t>::max()}) {
    untouched<Struct> out(size);
    EXPECT_EQ(outcome(call(&out.value)), wrong_size(name, size, sizeof(Struct)));
    EXPECT_TRUE(out.holds()) << name << " was written";
  }
}

TEST(api_arguments, null_is_refused_by_name) {
  engine e;
  e.started();
  ballast_ids ids = ids_of({});
  ballast_context* none = nullptr;
  EXPECT_EQ(outcome(ballast_create(nullptr, MPI_COMM_SELF, &none)),
            "invalid argument: rank 0: config is NULL");
  EXPECT_EQ(outcome(ballast_create(&e.config, MPI_COMM_SELF, nullptr)),
            "invalid argument: rank 0: context is NULL");
  EXPECT_EQ(none, nullptr);
  const std::string context = "invalid argument: context is NULL";
  const ballast_tensor tensor = {};
  EXPECT_EQ(outcome(ballast_register_layer(nullptr, 0, &tensor, 1)), context);
  EXPECT_EQ(outcome(ballast_register_layer(e.context, 0, nullptr, 1)),
            "invalid argument: tensors is NULL");
  EXPECT_EQ(outcome(ballast_start(nullptr)), context);
  EXPECT_EQ(outcome(ballast_record(nullptr, 0, &ids)), context);
  EXPECT_EQ(outcome(ballast_record(e.context, 0, nullptr)), "invalid argument: ids is NULL");
  EXPECT_EQ(outcome(ballast_record_counts(nullptr, 0, nullptr)), context);
  EXPECT_EQ(outcome(ballast_record_counts(e.context, 0, nullptr)),
            "invalid argument: counts is NULL");
  EXPECT_EQ(outcome(ballast_record_time(nullptr, 0)), context);
  EXPECT_EQ(outcome(ballast_route(nullptr, 0, &ids, 0, nullptr)), context);
  EXPECT_EQ(outcome(ballast_route(e.context, 0, nullptr, 0, nullptr)),
            "invalid argument: ids is NULL");
  EXPECT_EQ(outcome(ballast_record_route(nullptr, 0, &ids, 0, nullptr)), context);
  EXPECT_EQ(outcome(ballast_record_route(e.context, 0, nullptr, 0, nullptr)),
            "invalid argument: ids is NULL");
  EXPECT_EQ(outcome(ballast_step(nullptr, nullptr)), context);
  EXPECT_EQ(outcome(ballast_pause(nullptr, 0)), context);
  EXPECT_EQ(outcome(ballast_resume(nullptr)), context);
  EXPECT_EQ(outcome(ballast_lost(nullptr, nullptr, 0, nullptr)), context);
  EXPECT_EQ(outcome(ballast_tables(nullptr, 0, nullptr)), context);
  EXPECT_EQ(outcome(ballast_tables(e.context, 0, nullptr)), "invalid argument: tables is NULL");
  EXPECT_EQ(outcome(ballast_shape(nullptr, nullptr, nullptr, nullptr, nullptr)), context);
  EXPECT_EQ(outcome(ballast_expert_hash(nullptr, 0, 0, nullptr)), context);
  EXPECT_EQ(outcome(ballast_expert_hash(e.context, 0, 0, nullptr)),
            "invalid argument: hash is NULL");
  EXPECT_EQ(outcome(ballast_epoch_report(nullptr, 0, nullptr)), context);
  e.step_until_closed();
  EXPECT_EQ(outcome(ballast_epoch_report(e.context, 0, nullptr)),
            "invalid argument: epoch is NULL");
  EXPECT_EQ(outcome(ballast_damaged(nullptr, 0, nullptr)), context);
  EXPECT_EQ(outcome(ballast_damaged(e.context, 0, nullptr)),
            "wrong state: there is no damaged expert at index 0");
  EXPECT_EQ(outcome(ballast_read_counters(nullptr, nullptr)), context);
  EXPECT_EQ(outcome(ballast_read_counters(e.context, nullptr)),
            "invalid argument: counters is NULL");
}

TEST(api_arguments, null_is_allowed_where_the_header_says_so) {
  engine e;
  EXPECT_EQ(ballast_destroy(nullptr), BALLAST_OK);
  ballast_topology_destroy(nullptr);
  ballast_plan_destroy(nullptr);
  ballast_config_init(nullptr);
  ballast_ids_init(nullptr);
  ballast_plan_request_init(nullptr);
  e.config.policy = nullptr;
  e.started();
  EXPECT_EQ(ballast_step(e.context, nullptr), BALLAST_OK);
  EXPECT_EQ(ballast_shape(e.context, nullptr, nullptr, nullptr, nullptr), BALLAST_OK);
}

TEST(api_arguments, structs_of_unknown_size_are_refused_and_not_written) {
  engine e;
  e.started();
  e.step_until_closed();
  expect_sizes_refused<ballast_step_result>(
      "result", [&](auto* out) { return ballast_step(e.context, out); });
  expect_sizes_refused<ballast_layer_tables>(
      "tables", [&](auto* out) { return ballast_tables(e.context, 0, out); });
  expect_sizes_refused<ballast_epoch>(
      "epoch", [&](auto* out) { return ballast_epoch_report(e.context, 0, out); });
  expect_sizes_refused<ballast_counters>(
      "counters", [&](auto* out) { return ballast_read_counters(e.context, out); });
  expect_sizes_refused<ballast_ids>("ids",
                                    [&](auto* in) { return ballast_record(e.context, 0, in); });
  expect_sizes_refused<ballast_ids>(
      "ids", [&](auto* in) { return ballast_route(e.context, 0, in, 0, nullptr); });
  ballast_context* none = nullptr;
  expect_sizes_refused<ballast_config>(
      "rank 0: config", [&](auto* in) { return ballast_create(in, MPI_COMM_SELF, &none); });
  EXPECT_EQ(none, nullptr);
}

TEST(api_arguments, invalid_communicator_is_a_status_and_not_the_end) {
  engine e;
  ballast_context* none = nullptr;
  EXPECT_EQ(outcome(ballast_create(&e.config, MPI_COMM_NULL, &none)),
            "invalid argument: comm is MPI_COMM_NULL");
  EXPECT_EQ(none, nullptr);
}

TEST(api_arguments, calls_before_start_and_after_it_are_a_wrong_state) {
  engine e;
  e.create();
  const std::string not_started = "wrong state: ballast_start has not been called, or has failed";
  const ballast_ids ids = ids_of({});
  const std::int64_t counts[engine::experts] = {};
  std::uint64_t hash = 5;
  untouched<ballast_step_result> result(sizeof(ballast_step_result));
  untouched<ballast_epoch> epoch(sizeof(ballast_epoch));
  untouched<ballast_counters> counters(sizeof(ballast_counters));
  EXPECT_EQ(outcome(ballast_record(e.context, 0, &ids)), not_started);
  EXPECT_EQ(outcome(ballast_record_counts(e.context, 0, counts)), not_started);
  EXPECT_EQ(outcome(ballast_record_time(e.context, 1)), not_started);
  EXPECT_EQ(outcome(ballast_route(e.context, 0, &ids, 0, nullptr)), not_started);
  EXPECT_EQ(outcome(ballast_step(e.context, &result.value)), not_started);
  EXPECT_EQ(outcome(ballast_pause(e.context, BALLAST_DROP)), not_started);
  EXPECT_EQ(outcome(ballast_resume(e.context)), not_started);
  EXPECT_EQ(outcome(ballast_lost(e.context, nullptr, 0, nullptr)), not_started);
  EXPECT_EQ(outcome(ballast_expert_hash(e.context, 0, 0, &hash)), not_started);
  EXPECT_EQ(outcome(ballast_epoch_report(e.context, 0, &epoch.value)), not_started);
  EXPECT_EQ(outcome(ballast_read_counters(e.context, &counters.value)), not_started);
  EXPECT_EQ(hash, 5u);
  EXPECT_TRUE(result.holds() && epoch.holds() && counters.holds());

  e.register_layers();
  const ballast_tensor tensor = {e.weights[0].data(), 8, 8};
  EXPECT_EQ(outcome(ballast_register_layer(e.context, 1, &tensor, 1)),
            "invalid argument: layer 1 is registered already");
  e.start();
  EXPECT_EQ(outcome(ballast_start(e.context)), "wrong state: ballast_start was called before");
  EXPECT_EQ(outcome(ballast_register_layer(e.context, 1, &tensor, 1)),
            "wrong state: ballast_register_layer after ballast_start");
  EXPECT_EQ(outcome(ballast_epoch_report(e.context, 0, &epoch.value)),
            "wrong state: there is no epoch at index 0");
  EXPECT_TRUE(epoch.holds());
}

TEST(api_arguments, start_without_all_layers_fails_and_leaves_only_destroy) {
  engine e;
  e.create();
  const ballast_tensor tensor = {e.weights[0].data(), engine::row_bytes, engine::row_bytes};
  ASSERT_EQ(ballast_register_layer(e.context, 0, &tensor, 1), BALLAST_OK);
  EXPECT_EQ(outcome(ballast_start(e.context)),
            "wrong state: rank 0: layer 1 has no registered tensors");
  EXPECT_EQ(outcome(ballast_start(e.context)), "wrong state: ballast_start was called before");
  EXPECT_EQ(outcome(ballast_step(e.context, nullptr)),
            "wrong state: ballast_start has not been called, or has failed");
}

TEST(api_arguments, layers_experts_modes_and_indices_out_of_range_are_named) {
  engine e;
  e.started();
  const ballast_ids ids = ids_of({});
  const std::int64_t counts[engine::experts] = {};
  untouched<ballast_layer_tables> tables(sizeof(ballast_layer_tables));
  std::uint64_t hash = 5;
  for (const int layer :
       {-1, 2, std::numeric_limits<int>::max(), std::numeric_limits<int>::min()}) {
    const std::string text = "invalid argument: layer " + std::to_string(layer) + " is not in 0..1";
    EXPECT_EQ(outcome(ballast_record(e.context, layer, &ids)), text);
    EXPECT_EQ(outcome(ballast_record_counts(e.context, layer, counts)), text);
    EXPECT_EQ(outcome(ballast_route(e.context, layer, &ids, 0, nullptr)), text);
    EXPECT_EQ(outcome(ballast_tables(e.context, layer, &tables.value)), text);
    EXPECT_EQ(outcome(ballast_expert_hash(e.context, layer, 0, &hash)), text);
  }
  for (const int expert : {-1, 4}) {
    EXPECT_EQ(outcome(ballast_expert_hash(e.context, 0, expert, &hash)),
              "invalid argument: expert " + std::to_string(expert) + " is not in 0..3");
  }
  for (const int mode : {-1, 5}) {
    const std::string text =
        "invalid argument: mode is " + std::to_string(mode) + ", expected 0 to 4";
    EXPECT_EQ(outcome(ballast_route(e.context, 0, &ids, mode, nullptr)), text);
    EXPECT_EQ(outcome(ballast_record_route(e.context, 0, &ids, mode, nullptr)), text);
  }
  for (const std::int64_t ns : {std::int64_t{-1}, std::int64_t{1000000000001}}) {
    EXPECT_EQ(outcome(ballast_record_time(e.context, ns)),
              "invalid argument: ns is " + std::to_string(ns) + ", expected 0 to 1000000000000");
  }
  for (const int how : {-1, 2}) {
    EXPECT_EQ(outcome(ballast_pause(e.context, how)),
              "invalid argument: how is " + std::to_string(how) + ", expected 0 or 1");
  }
  e.step_until_closed();
  untouched<ballast_epoch> epoch(sizeof(ballast_epoch));
  for (const int index : {-1, 1, 64}) {
    EXPECT_EQ(outcome(ballast_epoch_report(e.context, index, &epoch.value)),
              "wrong state: there is no epoch at index " + std::to_string(index));
  }
  EXPECT_EQ(hash, 5u);
  EXPECT_TRUE(tables.holds() && epoch.holds());
}

TEST(api_arguments, fields_of_ids_out_of_range_are_named) {
  engine e;
  e.started();
  const std::vector<std::int32_t> values(8, 0);
  std::vector<std::int32_t> slots(8, -7);
  const auto refused = [&](auto&& change) {
    ballast_ids ids = ids_of(values, 2);
    change(ids);
    const std::string text = outcome(ballast_route(e.context, 0, &ids, 0, slots.data()));
    EXPECT_EQ(outcome(ballast_record(e.context, 0, &ids)), text);
    return text;
  };
  EXPECT_EQ(refused([](auto& i) { i.type = 2; }), "invalid argument: ids.type is 2");
  EXPECT_EQ(refused([](auto& i) { i.type = -1; }), "invalid argument: ids.type is -1");
  EXPECT_EQ(refused([](auto& i) { i.columns = 0; }), "invalid argument: ids.columns is 0");
  EXPECT_EQ(refused([](auto& i) { i.columns = 65537; }), "invalid argument: ids.columns is 65537");
  EXPECT_EQ(refused([](auto& i) { i.shared_columns = -1; }),
            "invalid argument: ids.shared_columns is -1");
  EXPECT_EQ(refused([](auto& i) { i.shared_columns = 3; }),
            "invalid argument: ids.shared_columns is 3");
  EXPECT_EQ(refused([](auto& i) { i.tokens = -1; }), "invalid argument: ids.tokens is -1");
  EXPECT_EQ(refused([](auto& i) { i.tokens = std::int64_t{1} << 41; }),
            "invalid argument: ids.tokens is 2199023255552");
  EXPECT_EQ(refused([](auto& i) { i.valid_tokens = 5; }),
            "invalid argument: ids.valid_tokens is 5");
  EXPECT_EQ(refused([](auto& i) { i.valid_tokens = -1; }),
            "invalid argument: ids.valid_tokens is -1");
  EXPECT_EQ(refused([](auto& i) { i.ids = nullptr; }), "invalid argument: ids.ids is NULL");
  EXPECT_EQ(slots, std::vector<std::int32_t>(8, -7));
  const ballast_ids ids = ids_of(values, 2);
  EXPECT_EQ(outcome(ballast_route(e.context, 0, &ids, 0, nullptr)),
            "invalid argument: slots is NULL");
}

TEST(api_arguments, tensors_are_refused_by_layer_and_tensor) {
  engine e;
  e.create();
  unsigned char* base = e.weights[0].data();
  const ballast_tensor good = {base, 8, 8};
  const ballast_tensor bad[] = {{base + 100, 8, 8}, {base, 8, 8}, {nullptr, 8, 8}};
  EXPECT_EQ(outcome(ballast_register_layer(e.context, 0, &good, -1)),
            "invalid argument: tensor_count is -1");
  EXPECT_EQ(outcome(ballast_register_layer(e.context, 0, &good, 0)),
            "invalid argument: layer 0: 0 tensors, 1 to 64 are possible");
  EXPECT_EQ(outcome(ballast_register_layer(e.context, 5, &good, 1)),
            "invalid argument: layer 5 is not in 0..1");
  EXPECT_EQ(outcome(ballast_register_layer(e.context, 0, bad, 3)),
            "invalid argument: layer 0, tensor 2: base is NULL");
  EXPECT_EQ(ballast_register_layer(e.context, 0, bad, 2), BALLAST_OK) << ballast_last_error();
}

TEST(api_arguments, bad_configurations_name_rank_field_and_value_and_leave_the_handle_alone) {
  engine e;
  auto* const marker = reinterpret_cast<ballast_context*>(&e);
  ballast_context* context = marker;
  const auto refused = [&](auto&& change) {
    ballast_config config = e.config;
    change(config);
    return outcome(ballast_create(&config, MPI_COMM_SELF, &context));
  };
  EXPECT_EQ(refused([](auto& c) { c.layers = 0; }),
            "invalid argument: rank 0: layers is 0, expected 1 to 4096");
  EXPECT_EQ(
      refused([](auto& c) {
        c.experts = 6;
        c.groups = 1;
      }),
      "invalid argument: rank 0: slots_per_rank 5 on 1 ranks are 5 slots, fewer than 6 experts");
  EXPECT_EQ(refused([](auto& c) {
              c.policy = "magic";
            }).find("invalid argument: rank 0: policy is magic, expected one of"),
            0u);
  EXPECT_EQ(refused([](auto& c) { c.deadline_seconds = -1; }),
            "invalid argument: rank 0: deadline_seconds is -1, expected 0.1 to 1000000");
  ballast_topology* two = nullptr;
  ASSERT_EQ(ballast_topology_imitate(2, 2, nullptr, &two), BALLAST_OK);
  EXPECT_EQ(refused([&](auto& c) { c.topology = two; }),
            "invalid argument: rank 0: topology has 2 ranks, the communicator 1");
  ballast_topology_destroy(two);
  EXPECT_EQ(context, marker);
}

TEST(api_arguments, memory_that_cannot_be_had_is_a_status_with_its_size) {
#if defined(__SANITIZE_ADDRESS__)
  GTEST_SKIP() << "AddressSanitizer ends the program instead of throwing std::bad_alloc";
#endif
  engine e;
  e.config.layers = 1;
  e.config.staging_experts = 1024;
  e.create();
  const ballast_tensor tensor = {e.weights[0].data(), std::size_t{1} << 46, std::size_t{1} << 46};
  ASSERT_EQ(ballast_register_layer(e.context, 0, &tensor, 1), BALLAST_OK) << ballast_last_error();
  EXPECT_EQ(
      outcome(ballast_start(e.context)),
      "out of memory: rank 0: 2 x 1024 staging rows of 70368744177664 bytes cannot be allocated");
}

TEST(api_arguments, last_error_belongs_to_the_thread) {
  EXPECT_EQ(outcome(ballast_start(nullptr)), "invalid argument: context is NULL");
  std::string before, after;
  std::thread([&] {
    before = ballast_last_error();
    ballast_plan_create(nullptr, nullptr);
    after = ballast_last_error();
  }).join();
  EXPECT_EQ(before, "");
  EXPECT_EQ(after, "request is NULL");
  EXPECT_STREQ(ballast_last_error(), "context is NULL");
}

}  // namespace
}  // namespace ballast::testing
