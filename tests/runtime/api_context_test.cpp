// The C interface of contexts on one rank when it is called rightly: defaults, names, tables,
// recording, routing, steps, reports and counters.
#include <cstring>
#include <set>

#include "tests/runtime/api_engine.hpp"

namespace ballast::testing {
namespace {

TEST(api, initialisers_fill_the_documented_defaults) {
  ballast_config c;
  std::memset(&c, 0xff, sizeof(c));
  ballast_config_init(&c);
  EXPECT_EQ(c.struct_size, sizeof(c));
  EXPECT_EQ(c.layers, 0);
  EXPECT_EQ(c.experts, 0);
  EXPECT_EQ(c.slots_per_rank, 0);
  EXPECT_EQ(c.spare_rows, 0);
  EXPECT_EQ(c.groups, 1);
  EXPECT_EQ(c.compatible, 0);
  EXPECT_STREQ(c.policy, BALLAST_DEFAULT_POLICY);
  EXPECT_EQ(c.mode, BALLAST_MODE_DYNAMIC);
  EXPECT_EQ(c.way, BALLAST_WAY_AUTO);
  EXPECT_EQ(c.verify, BALLAST_VERIFY_FULL);
  EXPECT_EQ(c.consensus_lag, 2);
  EXPECT_EQ(c.interval, 1000);
  EXPECT_EQ(c.window, 0);
  EXPECT_EQ(c.balance_min_permille, 1000);
  EXPECT_EQ(c.gain_min_permille, 5);
  EXPECT_EQ(c.max_moves, -1);
  EXPECT_EQ(c.max_bytes, -1);
  EXPECT_EQ(c.staging_experts, 2);
  EXPECT_EQ(c.receives_per_batch, 8);
  EXPECT_EQ(c.bytes_per_step, 0);
  EXPECT_EQ(c.planner_threads, 1);
  EXPECT_EQ(c.objective, BALLAST_OBJECTIVE_TOKENS);
  EXPECT_EQ(c.seed, 1u);
  EXPECT_EQ(c.deadline_seconds, 30);
  EXPECT_TRUE(c.placement == nullptr && c.shares == nullptr && c.topology == nullptr);
  EXPECT_TRUE(c.log == nullptr && c.log_user == nullptr && c.drill == nullptr);
  ballast_ids i;
  std::memset(&i, 0xff, sizeof(i));
  ballast_ids_init(&i);
  EXPECT_EQ(i.struct_size, sizeof(i));
  EXPECT_EQ(i.ids, nullptr);
  EXPECT_EQ(i.type, BALLAST_IDS_INT32);
  EXPECT_EQ(i.columns, 1);
  EXPECT_EQ(i.tokens + i.valid_tokens + i.shared_columns + i.reserved, 0);
}

TEST(api, every_status_has_its_own_name) {
  std::set<std::string> names;
  for (int status = BALLAST_ERROR_INTERNAL; status <= BALLAST_OK; ++status) {
    names.insert(ballast_status_name(static_cast<ballast_status>(status)));
  }
  EXPECT_EQ(names.size(), 9u);
  EXPECT_EQ(names.count("unknown status"), 0u);
  EXPECT_STREQ(ballast_status_name(static_cast<ballast_status>(-9)), "unknown status");
  EXPECT_STREQ(ballast_status_name(BALLAST_ERROR_CONFIG_MISMATCH), "config mismatch");
}

TEST(api, version_policies_and_drills_are_named) {
  EXPECT_EQ(std::string(ballast_version()), std::to_string(BALLAST_VERSION_MAJOR) + "." +
                                                std::to_string(BALLAST_VERSION_MINOR) + "." +
                                                std::to_string(BALLAST_VERSION_PATCH));
  std::set<std::string> names;
  std::int32_t index = 0;
  for (; ballast_policy_name(index) != nullptr; ++index) names.insert(ballast_policy_name(index));
  EXPECT_EQ(names.size(), static_cast<std::size_t>(index));
  for (const char* name : {"static", "random", "deepseek"})
    EXPECT_EQ(names.count(name), 1u) << name;
  EXPECT_EQ(ballast_policy_name(-1), nullptr);
  EXPECT_EQ(ballast_policy_name(index + 1), nullptr);
  for (const char* kind : {"digest", "checksum", "source", "error", "stall"}) {
    EXPECT_NE(std::string(ballast_drill_kinds()).find(kind), std::string::npos) << kind;
  }
}

TEST(api, every_policy_it_names_can_be_used) {
  for (std::int32_t i = 0; ballast_policy_name(i) != nullptr; ++i) {
    engine e;
    e.config.policy = ballast_policy_name(i);
    e.started();
    EXPECT_GT(e.step_until_closed(), 0) << ballast_policy_name(i);
  }
}

TEST(api, tables_and_shape_are_there_from_creation_on) {
  engine e;
  e.config.spare_rows = 2;
  e.create();
  std::int32_t layers = 0, experts = 0, ranks = 0, rows = 0;
  ASSERT_EQ(ballast_shape(e.context, &layers, &experts, &ranks, &rows), BALLAST_OK);
  EXPECT_EQ(layers, 2);
  EXPECT_EQ(experts, 4);
  EXPECT_EQ(ranks, 1);
  EXPECT_EQ(rows, 7);
  ballast_layer_tables tables = {};
  tables.struct_size = sizeof(tables);
  ASSERT_EQ(ballast_tables(e.context, 1, &tables), BALLAST_OK);
  EXPECT_EQ(tables.struct_size, sizeof(tables));
  EXPECT_EQ(tables.version, 0u);
  const std::int32_t held[] = {0, 1, 2, 3, 0, -1, -1};
  EXPECT_TRUE(std::equal(held, held + 7, tables.expert_of_slot));
  const std::int32_t first[] = {0, 2, 3, 4, 5};
  EXPECT_TRUE(std::equal(first, first + 5, tables.replica_first));
  EXPECT_EQ(tables.replica_slot[1], 4);
  EXPECT_EQ(tables.replica_share_end[0], 32768);
  EXPECT_EQ(tables.replica_share_end[1], 65536);
}

TEST(api, recorded_tokens_of_all_steps_reach_the_next_epoch) {
  engine e;
  e.started();
  const std::int64_t counts[] = {100, 0, 7, 1};
  for (int step = 0; step < 4; ++step) {
    const std::vector<std::int32_t> values = {0, 1, -1, 3, 9, 0, 2, 2, -5};
    ballast_ids ids = ids_of(values, 3);
    ids.valid_tokens = 2;
    ids.shared_columns = 1;
    ASSERT_EQ(ballast_record(e.context, 1, &ids), BALLAST_OK);
    ASSERT_EQ(ballast_record_counts(e.context, 0, counts), BALLAST_OK);
    if (step == 3) break;  // the step that triggers comes below
    ASSERT_EQ(ballast_step(e.context, nullptr), BALLAST_OK);
  }
  ASSERT_GT(e.step_until_closed(), 0);
  const ballast_epoch epoch = e.newest_epoch();
  EXPECT_EQ(epoch.window_tokens, 4 * 108 + 4 * 3);
  EXPECT_EQ(epoch.epoch, 0);
  EXPECT_EQ(epoch.step_triggered, 3);
  EXPECT_EQ(e.counters().ids_out_of_range, 4);
}

TEST(api, window_shorter_than_the_interval_counts_its_last_steps_only) {
  engine e;
  e.config.interval = 10;
  e.config.window = 3;
  e.started();
  for (int step = 0; step < 10; ++step) {
    const std::int64_t counts[] = {std::int64_t{1} << step, 0, 0, 0};
    ASSERT_EQ(ballast_record_counts(e.context, 0, counts), BALLAST_OK);
    if (step == 9) break;  // the step that triggers comes below
    ASSERT_EQ(ballast_step(e.context, nullptr), BALLAST_OK);
  }
  e.step_until_closed();
  EXPECT_EQ(e.newest_epoch().window_tokens, 128 + 256 + 512);
}

TEST(api, counts_that_are_negative_or_overflow_are_refused_whole) {
  engine e;
  e.started();
  constexpr std::int64_t most = (std::int64_t{1} << 62) / 2;  // one rank, two buckets at most
  const std::int64_t negative[] = {5, 5, -1, 5};
  const std::int64_t large[] = {5, 5, 5, most + 1};
  const std::int64_t good[] = {most, 0, 0, 0};
  const std::int64_t one[] = {1, 1, 1, 1};
  EXPECT_EQ(outcome(ballast_record_counts(e.context, 1, negative)),
            "invalid argument: layer 1, expert 2: count -1 is negative or overflows the window");
  EXPECT_EQ(outcome(ballast_record_counts(e.context, 0, large)),
            "invalid argument: layer 0, expert 3: count 2305843009213693953 is negative or "
            "overflows the window");
  EXPECT_EQ(outcome(ballast_record_counts(e.context, 0, good)), "ok");
  EXPECT_EQ(outcome(ballast_record_counts(e.context, 0, one)),
            "invalid argument: layer 0, expert 0: count 1 is negative or overflows the window");
  e.step_until_closed();
  EXPECT_EQ(e.newest_epoch().window_tokens, most);
}

TEST(api, record_and_route_in_one_call_are_as_one_after_the_other) {
  engine e;
  e.started();
  const std::vector<std::int32_t> values = {0, 1, 2, 3, -1, 9, 0, 0};
  const ballast_ids ids = ids_of(values, 4);
  for (int mode = BALLAST_ROUTE_SHARES; mode <= BALLAST_ROUTE_RANK_INVARIANT; ++mode) {
    std::vector<std::int32_t> slots(8, -7);
    std::vector<std::int32_t> both(8, -7);
    ASSERT_EQ(ballast_route(e.context, 0, &ids, mode, slots.data()), BALLAST_OK);
    ASSERT_EQ(ballast_record_route(e.context, 0, &ids, mode, both.data()), BALLAST_OK);
    EXPECT_EQ(both, slots) << "mode " << mode;
  }
  e.step_until_closed();
  EXPECT_EQ(e.newest_epoch().window_tokens, 5 * 6);  // five modes, six ids in range
}

TEST(api, routes_follow_the_tables_in_both_id_types) {
  engine e;
  e.started();
  const std::vector<std::int32_t> values = {0, 1, 2, 3, -1, 4, 0, 0};
  std::vector<std::int32_t> slots(8, -7);
  ballast_ids ids = ids_of(values, 4);
  ids.shared_columns = 1;
  for (int mode = BALLAST_ROUTE_SHARES; mode <= BALLAST_ROUTE_RANK_INVARIANT; ++mode) {
    ASSERT_EQ(ballast_route(e.context, 0, &ids, mode, slots.data()), BALLAST_OK);
    EXPECT_TRUE(slots[0] == 0 || slots[0] == 4) << "mode " << mode;
    EXPECT_EQ(std::vector<std::int32_t>(slots.begin() + 1, slots.begin() + 6),
              (std::vector<std::int32_t>{1, 2, 3, -1, -1}));
    EXPECT_EQ(slots[7], 0) << "shared columns are copied";
    const std::vector<std::int64_t> wide(values.begin(), values.end());
    std::vector<std::int64_t> wide_slots(8, -7);
    ballast_ids wide_ids = ids;
    wide_ids.ids = wide.data();
    wide_ids.type = BALLAST_IDS_INT64;
    ASSERT_EQ(ballast_route(e.context, 0, &wide_ids, mode, wide_slots.data()), BALLAST_OK);
    EXPECT_TRUE(std::equal(slots.begin(), slots.end(), wide_slots.begin())) << "mode " << mode;
  }
  const ballast_ids none = ids_of({});
  EXPECT_EQ(ballast_route(e.context, 0, &none, 0, nullptr), BALLAST_OK);
  EXPECT_EQ(ballast_record(e.context, 0, &none), BALLAST_OK);
}

TEST(api, steps_are_numbered_and_idle_ones_change_nothing) {
  engine e;
  e.config.interval = 50;
  e.started();
  for (int step = 0; step < 49; ++step) {
    ballast_step_result result = {};
    result.struct_size = sizeof(result);
    ASSERT_EQ(ballast_step(e.context, &result), BALLAST_OK);
    EXPECT_EQ(result.struct_size, sizeof(result));
    EXPECT_EQ(result.step, step);
    EXPECT_EQ(result.phase, BALLAST_PHASE_IDLE);
    EXPECT_EQ(result.tables_changed, 0);
    EXPECT_EQ(result.epoch_closed, 0);
  }
}

TEST(api, counters_count_steps_and_epochs) {
  engine e;
  e.started();
  int steps = 0;
  for (int epoch = 0; epoch < 3; ++epoch) steps += e.step_until_closed();
  const ballast_counters counters = e.counters();
  EXPECT_EQ(counters.struct_size, sizeof(counters));
  EXPECT_EQ(counters.steps, steps);
  EXPECT_GE(counters.epochs, 3);  // the step that closes one may trigger the next
  EXPECT_LE(counters.epochs, 4);
  EXPECT_EQ(counters.epochs_committed + counters.epochs_dropped + counters.epochs_unchanged, 3);
  EXPECT_EQ(counters.balancing, 1);
  EXPECT_EQ(counters.plans_diverged + counters.checksums_failed + counters.slots_quarantined, 0);
}

TEST(api, reports_are_newest_first_and_the_last_64_are_kept) {
  engine e;
  e.config.interval = 1;
  e.started();
  for (int epoch = 0; epoch < 70; ++epoch) ASSERT_GT(e.step_until_closed(), 0);
  ballast_epoch epoch = {};
  epoch.struct_size = sizeof(epoch);
  for (int index = 0; index < 64; ++index) {
    ASSERT_EQ(ballast_epoch_report(e.context, index, &epoch), BALLAST_OK) << index;
    EXPECT_EQ(epoch.epoch, 69 - index);
    EXPECT_NE(std::string(epoch.reason), "");
  }
  EXPECT_EQ(ballast_epoch_report(e.context, 64, &epoch), BALLAST_ERROR_STATE);
}

TEST(api, static_mode_has_no_epochs_and_record_mode_moves_nothing) {
  const std::int64_t counts[] = {100, 1, 1, 1};
  engine still;
  still.config.mode = BALLAST_MODE_STATIC;
  still.started();
  for (int step = 0; step < 100; ++step)
    ASSERT_EQ(ballast_step(still.context, nullptr), BALLAST_OK);
  EXPECT_EQ(still.counters().epochs, 0);
  EXPECT_EQ(still.counters().balancing, 0);
  engine record;
  record.config.mode = BALLAST_MODE_RECORD;
  record.started();
  ASSERT_EQ(ballast_record_counts(record.context, 0, counts), BALLAST_OK);
  ASSERT_GT(record.step_until_closed(), 0);
  EXPECT_EQ(record.newest_epoch().outcome, BALLAST_OUTCOME_RECORDED);
  EXPECT_EQ(record.newest_epoch().moves, 0);
}

TEST(api, paused_contexts_trigger_no_epoch_until_resumed) {
  engine e;
  e.started();
  ASSERT_EQ(ballast_pause(e.context, BALLAST_FINISH), BALLAST_OK);
  for (int step = 0; step < 40; ++step) ASSERT_EQ(ballast_step(e.context, nullptr), BALLAST_OK);
  EXPECT_EQ(e.counters().epochs, 0);
  ASSERT_EQ(ballast_resume(e.context), BALLAST_OK);
  EXPECT_GT(e.step_until_closed(), 0);
  EXPECT_EQ(e.newest_epoch().epoch, 0);
}

TEST(api, expert_hashes_depend_on_the_bytes_alone) {
  engine e;
  e.create().register_layers();
  e.weights[1] = e.weights[0];
  e.start();
  std::set<std::uint64_t> seen;
  for (int expert = 0; expert < engine::experts; ++expert) {
    std::uint64_t first = 0, second = 0;
    ASSERT_EQ(ballast_expert_hash(e.context, 0, expert, &first), BALLAST_OK);
    ASSERT_EQ(ballast_expert_hash(e.context, 1, expert, &second), BALLAST_OK);
    EXPECT_EQ(first, second);
    seen.insert(first);
  }
  EXPECT_EQ(seen.size(), 4u);
}

TEST(api, replicas_that_differ_at_start_are_named) {
  engine e;
  e.create().register_layers();
  e.weights[1][4 * engine::row_bytes + 39] ^= 1;  // slot 4 is the second replica of expert 0
  EXPECT_EQ(outcome(ballast_start(e.context)),
            "config mismatch: layer 1, expert 0: its replicas on ranks 0, 0 hold different bytes");
}

TEST(api, given_placement_and_shares_serve_from_the_start) {
  engine e;
  const std::int32_t placement[] = {3, 2, 1, 0, -1, 0, 1, 2, 3, -1};
  const std::int32_t shares[] = {65536, 65536, 65536, 65536, 0, 65536, 65536, 65536, 65536, 0};
  e.config.placement = placement;
  e.config.shares = shares;
  e.started();
  ballast_layer_tables tables = {};
  tables.struct_size = sizeof(tables);
  for (int layer = 0; layer < 2; ++layer) {
    ASSERT_EQ(ballast_tables(e.context, layer, &tables), BALLAST_OK);
    EXPECT_TRUE(
        std::equal(placement + 5 * layer, placement + 5 * layer + 5, tables.expert_of_slot));
  }
}

TEST(api, log_gets_one_line_texts_and_its_user_pointer) {
  std::vector<std::string> lines;
  engine e;
  e.config.log = [](void* user, std::int32_t level, const char* text) {
    EXPECT_GE(level, BALLAST_LOG_ERROR);
    EXPECT_LE(level, BALLAST_LOG_DEBUG);
    static_cast<std::vector<std::string>*>(user)->push_back(text);
  };
  e.config.log_user = &lines;
  e.started();
  ASSERT_FALSE(lines.empty());
  for (const std::string& line : lines) EXPECT_EQ(line.find('\n'), std::string::npos) << line;
}

TEST(api, contexts_live_side_by_side) {
  engine a, b;
  b.config.interval = 7;
  a.started();
  b.started();
  for (int step = 0; step < 200; ++step) {
    ASSERT_EQ(ballast_step(a.context, nullptr), BALLAST_OK);
    ASSERT_EQ(step % 3 == 0 ? ballast_step(b.context, nullptr) : BALLAST_OK, BALLAST_OK);
  }
  EXPECT_EQ(a.counters().steps, 200);
  EXPECT_EQ(b.counters().steps, 67);
}

TEST(api, callers_error_handler_stays_as_it_is) {
  MPI_Comm mine = MPI_COMM_NULL;
  MPI_Comm_dup(MPI_COMM_SELF, &mine);
  MPI_Comm_set_errhandler(mine, MPI_ERRORS_ARE_FATAL);
  engine e;
  ASSERT_EQ(ballast_create(&e.config, mine, &e.context), BALLAST_OK);
  MPI_Errhandler handler;
  MPI_Comm_get_errhandler(mine, &handler);
  EXPECT_EQ(handler, MPI_ERRORS_ARE_FATAL);
  MPI_Errhandler_free(&handler);
  MPI_Comm_free(&mine);
  e.register_layers().start();
  EXPECT_GT(e.step_until_closed(), 0) << "the context has communicators of its own";
}

}  // namespace
}  // namespace ballast::testing
