// `ballast plan` where one request makes several plans: series, lists of options, curves and
// budgets of slots.
#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <set>
#include <string>

#include "tests/jobs/cli_plan.hpp"
#include "tests/jobs/loads_files.hpp"

namespace ballast {
namespace {

using nlohmann::json;

// Four steps of 8 experts: in two of them expert 0 is hot, in the next two expert 7.
constexpr const char* turning_loads =
    R"({"steps": [[[300, 10, 20, 30, 40, 50, 60, 10]], [[500, 10, 20, 30, 40, 50, 60, 10]],
                  [[10, 60, 50, 40, 30, 20, 10, 150]], [[10, 60, 50, 40, 30, 20, 10, 250]]]})";

TEST(cli_plan, series_of_two_windows_plans_for_the_next_and_not_for_their_sum) {
  const temporary_folder folder;
  const std::string file = folder.path("placement.json");
  const arguments all = {"plan",      "--loads",  folder.write("turning.json", turning_loads),
                         "--ranks",   "4",        "--slots-per-rank",
                         "3",         "--policy", "deepseek",
                         "--explain", "--out",    file,
                         "--json",    "-"};
  struct outcome {
    json report, placement;
    double mean = 0;  // rank load, tokens
  };
  const auto placed = [&](const arguments& more) {
    outcome o;
    o.report = plan(with(all, more));
    std::ifstream stream(file);
    o.placement = json::parse(stream, nullptr, false)["placement"];
    o.mean = o.report["explain"][0]["mean"];
    return o;
  };
  const auto series = [&](const arguments& more) {
    return placed(with({"--series", "--series-steps", "2"}, more));
  };
  const outcome sum = placed({});
  const outcome first = placed({"--window", "0:2"});
  const outcome last = placed({"--window", "2:4"});
  ASSERT_NE(sum.placement, last.placement);
  EXPECT_FALSE(sum.report.contains("series"));
  // One transition has been seen: nothing foretells better than the window before.
  const outcome next = series({});
  EXPECT_EQ(next.report["series"],
            json({{"windows", 2}, {"window_steps", 2}, {"prediction", "auto"}}));
  EXPECT_EQ(next.placement, last.placement);
  EXPECT_EQ(next.mean, last.mean);
  const outcome summed = series({"--prediction", "sum"});
  EXPECT_EQ(summed.placement, sum.placement);
  EXPECT_EQ(summed.mean, sum.mean);
  // The mean of how tokens were spread; the mean of tokens; a memory that the newest hardly counts
  // in. All but for rounding.
  EXPECT_NEAR(series({"--prediction", "robust"}).mean, last.mean, 1);
  EXPECT_NE(series({"--prediction", "robust"}).placement, last.placement);
  EXPECT_NEAR(series({"--prediction", "decay"}).mean, sum.mean / 2, 2);
  EXPECT_NEAR(series({"--prediction", "decay", "--decay-shift", "16"}).mean, first.mean, 2);
}

TEST(cli_plan, series_is_planned_for_in_tables_and_curves_too) {
  const arguments series = with(
      one_plan, {"--expert-bytes", "1000", "--series", "--window", "0:18", "--series-steps", "3"});
  const json alone = plan(series);
  const json table = plan(with(series, {"--max-moves", "-1,0"}));
  EXPECT_EQ(table["series"], alone["series"]);
  EXPECT_EQ(table["rows"][0]["digest"], alone["digest"]);
  const json curve = plan(with(series, {"--curve"}));
  EXPECT_EQ(curve["series"], alone["series"]);
  EXPECT_EQ(curve["curve"].back()["balance"], alone["balance"]["after"]);
}

TEST(cli_plan, series_options_that_are_wrong_are_named) {
  const std::pair<arguments, std::string> cases[] = {
      {{"--series", "--series-steps", "0"}, "--series-steps: Value 0 not in range"},
      {{"--series-steps", "2"}, "--series-steps requires --series"},
      {{"--prediction", "sum"}, "--prediction requires --series"},
      {{"--series", "--prediction", "magic"}, "--prediction: magic not in {auto,sum,decay,robust}"},
      {{"--series", "--decay-shift", "2"}, "--decay-shift requires --prediction"},
      {{"--series", "--prediction", "robust", "--decay-shift", "2"},
       "--decay-shift is for --prediction decay, not robust"},
      {{"--series", "--prediction", "decay", "--decay-shift", "17"},
       "--decay-shift: Value 17 not in range"}};
  for (const auto& [more, says] : cases) {
    const ending end = run(with(one_plan, more));
    EXPECT_EQ(end.code, 64) << end.text();
    EXPECT_NE(end.err.find(says), std::string::npos) << "\"" << says << "\" is not in: " << end.err;
  }
  const ending uneven = run(with(one_plan, {"--series", "--series-steps", "3"}));
  EXPECT_EQ(uneven.code, 65);
  EXPECT_NE(uneven.err.find("--series-steps is 3, but 20 steps are no multiple of it"),
            std::string::npos)
      << uneven.err;
}

TEST(cli_plan, lists_give_a_table_of_all_combinations) {
  const temporary_folder folder;
  const std::string file = folder.path("rows.json");
  const ending end = run({"plan", "--generate", "model=deepseek-v2-lite,layers=9,steps=20",
                          "--ranks", "8,16", "--slots-per-rank", "9,5", "--policy", "flow,deepseek",
                          "--max-moves", "0,4,-1", "--expert-bytes", "1048576", "--json", file});
  ASSERT_EQ(end.code, 0) << end.text();
  std::ifstream stream(file);
  const json table = json::parse(stream, nullptr, false);
  EXPECT_EQ(table["schema"], "ballast.plan.what_if/1");
  ASSERT_EQ(table["rows"].size(), 2u * 2 * 2 * 3);
  std::set<std::string> seen;
  for (const json& row : table["rows"]) {
    SCOPED_TRACE(row.dump());
    const int ranks = row["ranks"];
    const int slots = row["slots_per_rank"];
    const int max_moves = row["max_moves"];
    seen.insert(row["policy"].get<std::string>() + std::to_string(ranks) + "," +
                std::to_string(slots) + "," + std::to_string(max_moves));
    ASSERT_EQ(row.contains("refused"), ranks * slots < 64);
    if (row.contains("refused")) {
      EXPECT_NE(row["refused"].get<std::string>().find("fewer than 64 experts"), std::string::npos);
      continue;
    }
    EXPECT_LE(row["balance_before"], row["balance_after"]);
    EXPECT_LE(row["balance_after"], row["balance_bound"]);
    if (max_moves >= 0) {
      EXPECT_LE(row["moves"], 9 * max_moves);
    }
    EXPECT_EQ(row["bytes"], row["moves"].get<std::int64_t>() * 1048576);
    // The row says what the plan alone would.
    const json alone =
        plan({"plan", "--generate", "model=deepseek-v2-lite,layers=9,steps=20", "--ranks",
              std::to_string(ranks), "--slots-per-rank", std::to_string(slots), "--policy",
              row["policy"], "--max-moves", std::to_string(max_moves), "--expert-bytes", "1048576",
              "--json", "-"});
    EXPECT_EQ(alone["digest"], row["digest"]);
    EXPECT_EQ(alone["balance"]["after"], row["balance_after"]);
    EXPECT_EQ(alone["moves"]["by_link"]["island"], row["bytes_by_link"]["island"]);
  }
  EXPECT_EQ(seen.size(), table["rows"].size());
  // Two header lines and a line for each row; a reason comes once.
  EXPECT_EQ(std::ranges::count(end.out, '\n'), 1 + 2 + 24 + 1) << end.out;
}

TEST(cli_plan, curve_goes_from_no_byte_to_the_plan_without_limit) {
  const json curve = plan(with(one_plan, {"--expert-bytes", "1000", "--curve"}));
  EXPECT_EQ(curve["schema"], "ballast.plan.curve/1");
  const json& points = curve["curve"];
  ASSERT_GE(points.size(), 4u);
  EXPECT_EQ(points.front()["max_moves"], 0);
  EXPECT_EQ(points.front()["bytes"], 0);
  const json unlimited = plan(with(one_plan, {"--expert-bytes", "1000"}));
  EXPECT_EQ(points.back()["max_moves"], -1);
  EXPECT_EQ(points.back()["bytes"], unlimited["moves"]["bytes"]);
  EXPECT_EQ(points.back()["balance"], unlimited["balance"]["after"]);
  for (std::size_t i = 1; i < points.size(); ++i) {
    const double more = points[i]["bytes"].get<double>() - points[i - 1]["bytes"].get<double>();
    const double gain = points[i]["balance"].get<double>() - points[i - 1]["balance"].get<double>();
    EXPECT_NE(more, 0);
    EXPECT_NEAR(points[i]["balance_per_gib"].get<double>(), gain / more * (1 << 30), 1e-3);
  }
}

const arguments a_budget = {"plan",    "--generate", "model=deepseek-v2-lite,layers=9,steps=20",
                            "--ranks", "8",          "--json",
                            "-"};

TEST(cli_plan, a_budget_of_slots_goes_to_the_layers_where_it_helps) {
  const temporary_folder folder;
  const std::string file = folder.path("placement.json");
  const json report = plan(with(a_budget, {"--slots-budget", "76", "--out", file}));
  const json& slots = report["slots"];
  EXPECT_EQ(slots["budget"], 76);
  EXPECT_EQ(slots["slots_fewest"], 72);
  EXPECT_LE(slots["slots"], 76);
  EXPECT_GT(slots["balance"], slots["balance_fewest"]);
  ASSERT_EQ(slots["per_layer"].size(), 9u);
  EXPECT_NEAR(report["balance"]["after"].get<double>(), slots["balance"].get<double>(), 1e-9);
  std::ifstream stream(file);
  const json written = json::parse(stream, nullptr, false);
  ASSERT_EQ(written["slots_per_layer"].size(), 9u);
  for (std::size_t layer = 0; layer < 9; ++layer) {
    EXPECT_EQ(written["slots_per_layer"][layer], slots["per_layer"][layer]["slots"]);
  }
  // The file's slots are those of a plan that starts from it.
  const json again = plan(
      with(a_budget, {"--slots-per-rank", written["slots_per_rank"].dump(), "--current", file}));
  EXPECT_EQ(again["moves"]["count"], 0);
  EXPECT_EQ(again["balance"]["before"], report["balance"]["after"]);

  const json by_bytes =
      plan(with(a_budget, {"--slots-budget-bytes", "76999", "--expert-bytes", "1000"}));
  EXPECT_EQ(by_bytes["slots"]["budget"], 76);
  const json rows = plan(with(a_budget, {"--slots-budget", "72,76,81"}))["rows"];
  ASSERT_EQ(rows.size(), 3u);
  EXPECT_LT(rows[0]["balance_after"], rows[1]["balance_after"]);
  EXPECT_LE(rows[1]["balance_after"], rows[2]["balance_after"]);
  EXPECT_EQ(rows[1]["slots"]["slots"], slots["slots"]);
}

TEST(cli_plan, budgets_of_slots_that_are_wrong_are_named) {
  const auto refused = [](const arguments& more, int code, const std::string& part) {
    const ending end = run(with(a_budget, more));
    EXPECT_EQ(end.code, code) << end.text();
    EXPECT_NE(end.err.find(part), std::string::npos) << end.err;
  };
  refused({}, 64, "give one of --slots-per-rank, --slots-budget and --slots-budget-bytes");
  refused({"--slots-budget", "76", "--slots-per-rank", "9"}, 64, "give one of");
  refused({"--slots-budget", "71"}, 65, "slots_budget: 71 slots");
  refused({"--slots-budget-bytes", "76000"}, 64, "--slots-budget-bytes needs --expert-bytes");
}

}  // namespace
}  // namespace ballast
