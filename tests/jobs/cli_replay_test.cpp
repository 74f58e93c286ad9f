// `ballast replay` from end to end: its report, real expert outputs, limits of moves and slots, and
// the recorded traces.
#include "tests/jobs/cli_replay.hpp"

#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>

namespace ballast {
namespace {

using nlohmann::json;

TEST_F(cli_replay, report_follows_the_schema_at_any_number_of_ranks) {
  // Loads that do not drift: however few epochs a slow machine fits in, the first one lasts.
  arguments steady = small_replay;
  steady[2] += ",drift=0";
  for (const int ranks : {1, 2, 4}) {
    SCOPED_TRACE(std::to_string(ranks) + " ranks");
    const json report = replay(ranks, steady);
    EXPECT_EQ(report["summary"]["steps"], 2000);
    EXPECT_GE(report["epochs"].size(), 1u);
    if (ranks == 1) continue;
    EXPECT_GT(report["summary"]["moves"], 0);
    EXPECT_GT(report["summary"]["balance_last_window"], report["summary"]["balance_first_window"]);
  }
}

TEST_F(cli_replay, report_goes_to_standard_output_alone) {
  const ending end = run(2, with(small_replay, {"--json", "-", "--quiet"}));
  EXPECT_TRUE(end.everywhere(2, 0)) << end.text();
  expect_report(json::parse(end.out, nullptr, false), 2);
  EXPECT_EQ(end.err, "");
}

TEST_F(cli_replay, table_progress_and_summary_are_printed) {
  const ending end = run(2, small_replay);
  for (const char* part :
       {"# ballast ", "2 ranks", "committed", "2000 steps", "0 wrong bytes", "replay ok"}) {
    EXPECT_NE(end.out.find(part), std::string::npos) << "\"" << part << "\" is missing:\n"
                                                     << end.text();
  }
  EXPECT_NE(end.err.find("step 1/2000"), std::string::npos) << end.text();
}

TEST_F(cli_replay, backend_and_transport_in_the_report_are_those_used) {
  const json two = replay(2, with(small_replay, {"--backend", "host", "--steps", "100"}));
  EXPECT_EQ(two["backend"], "host");
  EXPECT_EQ(two["transport"], "mpi");
  const json one = replay(1, with(small_replay, {"--transport", "mpi", "--steps", "100"}));
  EXPECT_EQ(one["backend"], "host");
  EXPECT_EQ(one["transport"], "local");
  const ending chosen = run(2, with(small_replay, {"--transport", "mpi", "--steps", "100"}));
  EXPECT_NE(chosen.out.find("host memory (auto: --transport is mpi), weights by mpi"),
            std::string::npos)
      << chosen.text();
}

TEST_F(cli_replay, expert_outputs_are_those_of_the_initial_placement) {
  const json report = replay(
      3, with(small_replay, {"--ffn", "--ffn-tokens", "16", "--way", "staged", "--steps", "300"}));
  EXPECT_GT(report["summary"]["moves"], 0);
  EXPECT_EQ(report["summary"]["outputs_identical"], true);
  EXPECT_GT(report["summary"]["outputs_compared"], 0);
}

TEST_F(cli_replay, every_way_and_mode) {
  for (const char* way : {"vacate", "spare", "staged"}) {
    SCOPED_TRACE(way);
    EXPECT_GT(replay(3, with(small_replay, {"--way", way, "--spare-rows", "1", "--bytes-per-step",
                                            "3000"}))["summary"]["moves"],
              0);
  }
  EXPECT_EQ(replay(2, with(small_replay, {"--mode", "record"}))["epochs"][0]["outcome"],
            "recorded");
  EXPECT_TRUE(replay(2, with(small_replay, {"--mode", "static"}))["epochs"].empty());
}

TEST_F(cli_replay, equal_shares_end_in_another_balance) {
  const json free = replay(2, small_replay)["epochs"][0];
  const json equal = replay(2, with(small_replay, {"--equal-shares"}))["epochs"][0];
  EXPECT_LT(equal["balance_planned"], free["balance_planned"]);
}

TEST_F(cli_replay, moves_may_be_limited_to_a_part_of_the_slots) {
  const auto first = [&](const char* limit) {  // of 3 ranks x 9 slots
    return replay(3, with(one_recorded_epoch, {"--max-moves", limit}))["epochs"][0]["digest"];
  };
  const json tenth = first("10%");
  EXPECT_EQ(tenth, first("2"));
  EXPECT_NE(tenth, first("100%"));
}

TEST_F(cli_replay, a_budget_of_slots_is_dealt_out_and_resumed_with) {
  const int fewest = 24;  // experts; over the ranks, in each of 3 layers
  for (const int ranks : {1, 2, 3, 4}) {
    const std::string state = folder_.path("state" + std::to_string(ranks));
    const std::string budget = std::to_string(3 * fewest / ranks + 2);
    const json first =
        replay(ranks, with(small_replay, {"--slots-budget", budget, "--state", state}));
    ASSERT_EQ(first["slots_per_layer"].size(), 3u);
    int sum = 0;
    for (const json& slots : first["slots_per_layer"]) sum += slots.get<int>();
    EXPECT_LE(sum, 3 * fewest / ranks + 2);
    EXPECT_LE(first["summary"]["verified_slots"].get<int>(), sum * ranks);
    if (ranks > 1) {
      EXPECT_GT(sum, 3 * fewest / ranks);
      EXPECT_GT(first["summary"]["moves"], 0);
    }
    if (ranks != 2) continue;
    const json again = replay(
        ranks, with(small_replay, {"--slots-budget", budget, "--state", state, "--steps", "200"}));
    EXPECT_EQ(again["slots_per_layer"], first["slots_per_layer"]);
  }
}

TEST_F(cli_replay, recorded_traces) {
  const std::string traces = std::string(BALLAST_SHARED_DIR) + "/data/traces/";
  const std::string decode = traces + "gptoss20b_decode_b64_mixed.json.gz";
  const std::string prefill = traces + "dsv2lite_prefill512_mixed.json";
  for (const std::string& trace : {decode, prefill}) {
    if (!std::filesystem::exists(trace)) GTEST_SKIP() << trace << " is not here";
  }
  const arguments common = {"replay", "--ffn", "--ffn-tokens", "4", "--layers", "2"};
  const json from_decode =
      replay(4, with(common, {"--trace", decode, "--interval", "48", "--steps", "384"}));
  const json from_prefill = replay(4, with(common, {"--trace", prefill, "--interval", "4"}));
  for (const json& report : {from_decode, from_prefill}) {
    EXPECT_EQ(report["summary"]["outputs_identical"], true);
    EXPECT_GT(report["summary"]["moves"], 0);
  }
  EXPECT_GT(from_decode["summary"]["balance_last_window"],
            from_decode["summary"]["balance_first_window"]);
}

}  // namespace
}  // namespace ballast
