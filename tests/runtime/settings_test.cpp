// Reading a configuration: every field out of range is refused with its name and value, what is
// left out has its default, drills are checked, and what ranks must share is compared.
#include <gtest/gtest.h>

#include <cmath>
#include <set>
#include <string>
#include <vector>

#include "tests/runtime/settings_cases.hpp"

namespace ballast {
namespace {

constexpr std::int64_t past_many = (std::int64_t{1} << 62) + 1;

// [2 windows][2 layers][6 experts]; a layer's sum is 2^62, and one load of the second is negative.
constexpr std::int64_t past_loads[24] = {
    0, 0, 0, 0, 0, 0, 0, 1, past_many - 2, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 0, -1, 0, 0};

TEST(settings, fields_out_of_range_are_named_with_their_value) {
  const struct {
    change make;
    const char* text;
  } cases[] = {
      {[](auto& c) { c.layers = 0; }, "layers is 0, expected 1 to 4096"},
      {[](auto& c) { c.layers = 4097; }, "layers is 4097, expected 1 to 4096"},
      {[](auto& c) { c.experts = 0; }, "experts is 0, expected 1 to 65536"},
      {[](auto& c) { c.experts = 65537; }, "experts is 65537, expected 1 to 65536"},
      {[](auto& c) { c.slots_per_rank = 0; }, "slots_per_rank is 0, expected 1 to 1024"},
      {[](auto& c) { c.slots_per_rank = 1025; }, "slots_per_rank is 1025, expected 1 to 1024"},
      {[](auto& c) { c.spare_rows = -1; }, "spare_rows is -1, expected 0 to 1024"},
      {[](auto& c) { c.spare_rows = 1025; }, "spare_rows is 1025, expected 0 to 1024"},
      {[](auto& c) { c.groups = 0; }, "groups is 0, expected 1 to 6"},
      {[](auto& c) { c.groups = 7; }, "groups is 7, expected 1 to 6"},
      {[](auto& c) { c.mode = -1; }, "mode is -1, expected 0 to 2"},
      {[](auto& c) { c.mode = 3; }, "mode is 3, expected 0 to 2"},
      {[](auto& c) { c.way = 4; }, "way is 4, expected 0 to 3"},
      {[](auto& c) { c.verify = 3; }, "verify is 3, expected 0 to 2"},
      {[](auto& c) { c.consensus_lag = 0; }, "consensus_lag is 0, expected 1 to 16"},
      {[](auto& c) { c.consensus_lag = 17; }, "consensus_lag is 17, expected 1 to 16"},
      {[](auto& c) { c.interval = 0; }, "interval is 0, expected 1 to 4611686018427387904"},
      {[](auto& c) { c.interval = past_many; },
       "interval is 4611686018427387905, expected 1 to 4611686018427387904"},
      {[](auto& c) { c.window = -1; }, "window is -1, expected 0 to 4611686018427387904"},
      {[](auto& c) {
         c.interval = 2;
         c.window = 2 * 4097;
       },
       "window is 8194, expected at most 4096 intervals"},
      {[](auto& c) { c.balance_min_permille = -1; },
       "balance_min_permille is -1, expected 0 to 1000"},
      {[](auto& c) { c.balance_min_permille = 1001; },
       "balance_min_permille is 1001, expected 0 to 1000"},
      {[](auto& c) { c.gain_min_permille = -1; }, "gain_min_permille is -1, expected 0 to 1000"},
      {[](auto& c) { c.gain_min_permille = 1001; },
       "gain_min_permille is 1001, expected 0 to 1000"},
      {[](auto& c) { c.max_moves = -2; }, "max_moves is -2, expected -1 to 4611686018427387904"},
      {[](auto& c) { c.moves_saved = 1001; }, "moves_saved is 1001, expected 0 to 1000"},
      {[](auto& c) { c.moves_saved = 1; },
       "max_moves (to be saved) is -1, expected 0 to 1000000000"},
      {[](auto& c) { c.max_bytes = -2; }, "max_bytes is -2, expected -1 to 4611686018427387904"},
      {[](auto& c) { c.staging_experts = 0; }, "staging_experts is 0, expected 1 to 1024"},
      {[](auto& c) { c.receives_per_batch = 0; }, "receives_per_batch is 0, expected 1 to 4096"},
      {[](auto& c) { c.bytes_per_step = -2; },
       "bytes_per_step is -2, expected -1 to 4611686018427387904"},
      {[](auto& c) { c.backend = 2; }, "backend is 2, expected 0 to 1"},
      {[](auto& c) { c.transport = 4; }, "transport is 4, expected 0 to 3"},
      {[](auto& c) { c.transport = BALLAST_TRANSPORT_COPY; },
       "transport is 1, expected auto, or one of the backend's: host mpi, cuda copy or nccl"},
      {[](auto& c) { c.device = -2; }, "device is -2, expected -1 to 1023"},
      {[](auto& c) { c.nccl_ctas = 0; }, "nccl_ctas is 0, expected 1 to 64"},
      {[](auto& c) { c.hash_ctas = 1025; }, "hash_ctas is 1025, expected 0 to 1024"},
      {[](auto& c) { c.past_window_count = 257; }, "past_window_count is 257, expected 0 to 256"},
      {[](auto& c) { c.past_window_count = 1; },
       "past_window_count is 1 and past_windows is NULL, expected both or none"},
      {[](auto& c) { c.past_windows = past_loads; },
       "past_window_count is 0 and past_windows is given, expected both or none"},
      {[](auto& c) {
         c.past_windows = past_loads;
         c.past_window_count = 2;
       },
       "past_windows: window 1, layer 1, expert 3 is -1, expected 0 to 2^62 and no more in a "
       "layer's sum"},
      {[](auto& c) {
         c.past_windows = past_loads + 1;
         c.past_window_count = 1;
       },
       "past_windows: window 0, layer 1, expert 5 is 7, expected 0 to 2^62 and no more in a "
       "layer's sum"},
      {[](auto& c) { c.planner_threads = 0; }, "planner_threads is 0, expected 1 to 256"},
      {[](auto& c) { c.planner_threads = 257; }, "planner_threads is 257, expected 1 to 256"},
      {[](auto& c) { c.deadline_seconds = 0.05; },
       "deadline_seconds is 0.05, expected 0.1 to 1000000"},
      {[](auto& c) { c.deadline_seconds = std::nan(""); },
       "deadline_seconds is nan, expected 0.1 to 1000000"},
      {[](auto& c) { c.deadline_seconds = INFINITY; },
       "deadline_seconds is inf, expected 0.1 to 1000000"},
      {[](auto& c) { c.experts = 9; },
       "slots_per_rank 2 on 4 ranks are 8 slots, fewer than 9 experts"},
  };
  for (const auto& one : cases) EXPECT_EQ(refusal(one.make), one.text);
  EXPECT_EQ(refusal([](auto& c) {
              c.policy = "greedy";
            }).find("policy is greedy, expected one of static, random, "),
            0u);
  EXPECT_EQ(refusal([](auto&) {}, 0), "ranks is 0, expected 1 to 16384");
  EXPECT_EQ(refusal([](auto&) {}, 16385), "ranks is 16385, expected 1 to 16384");
}

TEST(settings, ends_of_the_ranges_are_accepted) {
  const change cases[] = {
      [](auto& c) { c.layers = 4096; },
      [](auto& c) {
        c.experts = 1;
        c.groups = 1;
      },
      [](auto& c) { c.experts = 8; },
      [](auto& c) {
        c.slots_per_rank = 1024;
        c.spare_rows = 1024;
      },
      [](auto& c) {
        c.interval = std::int64_t{1} << 62;
        c.window = c.interval;
      },
      [](auto& c) {
        c.interval = 1;
        c.window = 4096;
      },
      [](auto& c) {
        c.max_moves = 0;
        c.max_bytes = 0;
      },
      [](auto& c) { c.deadline_seconds = 0.1; },
      [](auto& c) { c.deadline_seconds = 1e6; },
      [](auto& c) { c.consensus_lag = 16; },
      [](auto& c) { c.policy = nullptr; },
  };
  int index = 0;
  for (const change& make : cases) EXPECT_EQ(refusal(make), "accepted") << "case " << index++;
}

TEST(settings, ranks_that_are_slow_or_masked_are_checked) {
  static const std::int32_t slow[] = {1, 65536, 0, 1};
  static const std::int32_t fast[] = {1, 65537, 1, 1};
  static const std::uint8_t odd[] = {0, 0, 3, 0};
  static const std::uint8_t gone[] = {0, 0, 1, 0};
  static const std::uint8_t all[] = {1, 2, 1, 2};
  EXPECT_EQ(refusal([](auto& c) { c.rank_speed = slow; }),
            "rank_speed[2] is 0, expected 1 to 65536");
  EXPECT_EQ(refusal([](auto& c) { c.rank_speed = fast; }),
            "rank_speed[1] is 65537, expected 1 to 65536");
  EXPECT_EQ(refusal([](auto& c) { c.masked_ranks = odd; }),
            "masked_ranks[2] is 3, expected 0 to 2");
  EXPECT_EQ(refusal([](auto& c) { c.masked_ranks = all; }), "masked_ranks: no rank serves");
  static const std::int32_t placed[] = {0, 1, 2, 3, 4, 5, 0, 1, 0, 1, 2, 3, 4, 5, 0, 1};
  EXPECT_EQ(refusal([](auto& c) {
              c.masked_ranks = gone;
              c.placement = placed;
            }),
            "placement: layer 0: expert 4 is on rank 2, which is gone");
  ballast_config config = good_config();
  config.masked_ranks = gone;
  const settings s = settings::read(config, 4);
  EXPECT_EQ(s.marks.gone, (std::vector<std::uint8_t>{0, 0, 1, 0}));
  EXPECT_EQ(s.initial.experts_of(0)[4], no_expert);
  EXPECT_EQ(s.initial.experts_of(0)[6], 4);
}

TEST(settings, defaults_are_filled_in) {
  const ballast_config config = good_config();
  const settings s = settings::read(config, 4);
  EXPECT_EQ(s.config.window, s.config.interval);
  EXPECT_EQ(s.policy, BALLAST_DEFAULT_POLICY);
  EXPECT_EQ(s.drill.kind, drill_kind::none);
  EXPECT_EQ(s.layout, slot_layout::uniform(4, 2));
  EXPECT_EQ(s.usable_slots, (std::vector<std::int32_t>{2, 2, 2, 2}));
  EXPECT_EQ(s.initial, initial_placement(2, 6, s.layout, s.usable_slots));
}

TEST(settings, arrivals_are_checked_by_more_ctas_where_nothing_paces_them) {
  ballast_config config = good_config();
  config.backend = BALLAST_BACKEND_CUDA;
  EXPECT_EQ(settings::read(config, 4).config.hash_ctas, 2);  // paced by default
  config.bytes_per_step = -1;
  EXPECT_EQ(settings::read(config, 4).config.hash_ctas, 8);
  config.hash_ctas = 3;
  EXPECT_EQ(settings::read(config, 4).config.hash_ctas, 3);
}

TEST(settings, drills_are_read) {
  ballast_config config = good_config();
  const struct {
    const char* text;
    drill_kind kind;
    int rank;
    std::int64_t epoch;
  } cases[] = {{"digest:0:0", drill_kind::digest, 0, 0},
               {"checksum:3:17", drill_kind::checksum, 3, 17},
               {"source:1:4000000000", drill_kind::source, 1, 4000000000},
               {"error:2:1", drill_kind::error, 2, 1},
               {"stall:0:9", drill_kind::stall, 0, 9}};
  for (const auto& one : cases) {
    config.drill = one.text;
    const drill d = settings::read(config, 4).drill;
    EXPECT_EQ(d.kind, one.kind) << one.text;
    EXPECT_EQ(d.rank, one.rank) << one.text;
    EXPECT_EQ(d.epoch, one.epoch) << one.text;
  }
}

TEST(settings, bad_drills_are_refused_with_their_text) {
  for (const char* text :
       {"", "digest", "digest:", "digest:0", "digest:0:", "digest::0", "none:0:0", "fire:0:0",
        "digest:-1:0", "digest:0:-1", "digest:0:0:0", "digest:x:0", "digest:0:1e3", " digest:0:0",
        "digest:0:0 ", "digest:99999999999:0", "digest:0:99999999999999999999"}) {
    EXPECT_EQ(
        refusal([&](auto& c) { c.drill = text; }),
        std::string("drill is ") + text +
            ", expected KIND:RANK:EPOCH with KIND one of digest, checksum, source, error, stall");
  }
  EXPECT_EQ(refusal([](auto& c) { c.drill = "stall:4:0"; }), "drill rank is 4, expected 0 to 3");
}

TEST(settings, every_field_that_ranks_must_share_is_compared) {
  const change changes[] = {
      [](auto& c) { c.layers = 3; },
      [](auto& c) { c.experts = 5; },
      [](auto& c) { c.slots_per_rank = 3; },
      [](auto& c) { c.spare_rows = 1; },
      [](auto& c) { c.groups = 2; },
      [](auto& c) { c.compatible = 1; },
      [](auto& c) { c.policy = "random"; },
      [](auto& c) { c.mode = 1; },
      [](auto& c) { c.way = 1; },
      [](auto& c) { c.verify = 1; },
      [](auto& c) { c.consensus_lag = 3; },
      [](auto& c) { c.interval = 10; },
      [](auto& c) { c.window = 7; },
      [](auto& c) { c.balance_min_permille = 900; },
      [](auto& c) { c.gain_min_permille = 6; },
      [](auto& c) { c.max_moves = 4; },
      [](auto& c) {
        c.max_moves = 4;
        c.moves_saved = 2;
      },
      [](auto& c) { c.max_bytes = 4; },
      [](auto& c) { c.staging_experts = 3; },
      [](auto& c) { c.receives_per_batch = 3; },
      [](auto& c) { c.bytes_per_step = 3; },
      [](auto& c) { c.seed = 2; },
      [](auto& c) { c.equal_shares = 1; },
      [](auto& c) {
        c.past_windows = past_loads;
        c.past_window_count = 1;
      },
      [](auto& c) {
        c.past_windows = past_loads + 12;
        c.past_window_count = 1;
        c.layers = 1;
      },
      [](auto& c) { c.layers = 1; },
      [](auto& c) { c.deadline_seconds = 31; },
  };
  const auto values = [](const ballast_config& config) {
    std::vector<std::int64_t> found;
    for (const agreed_field& field : settings::read(config, 4).agreed_fields())
      found.push_back(field.value);
    return found;
  };
  std::set<std::vector<std::int64_t>> seen = {values(good_config())};
  for (const change& make : changes) {
    ballast_config config = good_config();
    make(config);
    EXPECT_TRUE(seen.insert(values(config)).second) << "change " << seen.size();
  }
  EXPECT_LE(settings::read(good_config(), 4).agreed_fields().size(), agreed_fields_max);
}

}  // namespace
}  // namespace ballast
