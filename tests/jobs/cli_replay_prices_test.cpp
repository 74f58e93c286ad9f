// `ballast replay`: what epochs predict from past windows, and whether moves pay off.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>

#include "tests/jobs/cli_replay.hpp"

namespace ballast {
namespace {

using nlohmann::json;

// An interval that is much longer than it takes to plan.
arguments unhurried() {
  arguments args = small_replay;
  *(std::ranges::find(args, "--interval") + 1) = "500";
  return args;
}

TEST_F(cli_replay, epochs_plan_for_what_the_prediction_makes_of_the_windows_kept) {
  // By the step that triggered them: a slow machine misses some.
  const auto digests = [&](const arguments& more) {
    std::map<std::int64_t, std::string> by_step;
    const json report = replay(2, with(with(unhurried(), {"--mode", "record"}), more));
    for (const json& epoch : report["epochs"]) by_step[epoch["step_triggered"]] = epoch["digest"];
    return by_step;
  };
  struct agreement {
    int same = 0, different = 0;
  };
  const auto compare = [](const auto& one, const auto& other) {
    agreement found;
    for (const auto& [step, digest] : one) {
      if (const auto twin = other.find(step); twin != other.end())
        ++(twin->second == digest ? found.same : found.different);
    }
    return found;
  };
  const auto sum = digests({"--prediction", "sum"});
  const auto slow = digests({"--prediction", "decay", "--decay-shift", "3"});
  const auto fast = digests({"--prediction", "decay", "--decay-shift", "1"});
  EXPECT_EQ(*sum.begin(), *slow.begin()) << "of one window they are the same";
  EXPECT_GT(compare(sum, slow).different, 0);
  EXPECT_GT(compare(slow, fast).different, 0);
  // Of a memory of one window too.
  const auto forgetful = digests({"--prediction", "sum", "--memory-windows", "1"});
  const agreement same =
      compare(forgetful, digests({"--prediction", "decay", "--memory-windows", "1"}));
  EXPECT_GT(same.same, 0);
  EXPECT_EQ(same.different, 0);
  EXPECT_GT(compare(forgetful, sum).different, 0);
}

TEST_F(cli_replay, moves_that_pay_off_after_the_horizon_are_not_made) {
  arguments recorded = with(small_replay, {"--mode", "record"});
  *(std::ranges::find(recorded, "--expert-bytes") + 1) = "1000003";
  const arguments priced = with(recorded, {"--token-ns", "1"});
  const json paid = replay(3, priced)["epochs"][0]["payback"];
  EXPECT_GT(paid["seconds_saved_per_step"], 0.0);
  EXPECT_GT(paid["transfer_seconds"], 0.0);
  const auto steps = paid["steps"].get<std::int64_t>();
  ASSERT_GT(steps, 1);
  const auto planned = [&](std::int64_t horizon) -> double {
    return replay(
        3, with(priced, {"--horizon", std::to_string(horizon)}))["epochs"][0]["balance_planned"];
  };
  EXPECT_LT(planned(steps - 1), planned(steps));
  EXPECT_EQ(replay(3, recorded)["epochs"][0]["payback"]["steps"], -1)
      << "without prices nobody knows";
}

TEST_F(cli_replay, what_a_token_costs_is_stated_or_measured_by_real_experts) {
  const arguments short_replay = with(small_replay, {"--steps", "300"});
  const json measured = replay(2, with(short_replay, {"--ffn", "--ffn-tokens", "16"}));
  for (const json& epoch : measured["epochs"]) {
    const json& payback = epoch["payback"];
    EXPECT_EQ(payback["token_measured"], true);
    EXPECT_GT(payback["token_seconds"], 0.0);
    EXPECT_GE(payback["transfer_seconds"], payback["transfer_seconds_by_link"]["island"]);
  }
  const json stated =
      replay(2, with(short_replay, {"--ffn", "--ffn-tokens", "16", "--token-ns", "7"}));
  EXPECT_EQ(stated["epochs"][0]["payback"]["token_measured"], false);
  EXPECT_DOUBLE_EQ(stated["epochs"][0]["payback"]["token_seconds"], 7e-9);
  EXPECT_EQ(replay(2, short_replay)["epochs"][0]["payback"]["token_seconds"], 0.0);
}

TEST_F(cli_replay, the_table_says_when_moves_have_paid_off) {
  arguments recorded = one_recorded_epoch;
  *(std::ranges::find(recorded, "--expert-bytes") + 1) = "1000003";
  EXPECT_EQ(run(3, recorded).out.find("paid off"), std::string::npos);
  const std::string path = folder_.path("paid.json");
  const ending paid = run(3, with(recorded, {"--token-ns", "1", "--json", path}));
  ASSERT_NE(paid.out.find("paid off"), std::string::npos) << paid.text();
  const json steps = read_json(path)["epochs"][0]["payback"]["steps"];
  ASSERT_GT(steps, 1);
  EXPECT_NE(paid.out.find(" " + steps.dump() + "\n"), std::string::npos) << paid.text();
  const ending refused = run(3, with(recorded, {"--token-ns", "1", "--horizon", "1"}));
  EXPECT_NE(refused.out.find(" (" + steps.dump() + ")\n"), std::string::npos) << refused.text();
}

TEST_F(cli_replay, prediction_and_prices_out_of_range_are_named) {
  const std::pair<arguments, std::string> cases[] = {
      {{"--token-ns", "0"}, "--token-ns: Value 0 not in range"},
      {{"--horizon", "10"}, "--horizon needs --token-ns N, or --ffn to measure"},
      {{"--token-ns", "1", "--horizon", "0"}, "--horizon: Value 0 not in range"},
      {{"--memory-windows", "257"}, "--memory-windows: Value 257 not in range"},
      {{"--prediction", "magic"}, "--prediction: magic not in"},
      {{"--prediction", "sum", "--decay-shift", "2"},
       "--decay-shift is for --prediction decay, not sum"}};
  for (const auto& [more, says] : cases) {
    const ending end = run(2, with(small_replay, more));
    EXPECT_TRUE(end.everywhere(2, 64)) << end.text();
    EXPECT_NE(end.err.find(says), std::string::npos) << "\"" << says << "\" is not in: " << end.err;
  }
}

}  // namespace
}  // namespace ballast
