// `ballast plan` from end to end: its report and placement file, and the same digest however many
// threads plan.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>

#include "tests/jobs/cli_process.hpp"
#include "tests/jobs/loads_files.hpp"

namespace ballast {
namespace {

using nlohmann::json;

arguments with(arguments args, const arguments& more) {
  args.insert(args.end(), more.begin(), more.end());
  return args;
}

const arguments one_plan = {"plan",    "--generate", "model=deepseek-v2-lite,layers=9,steps=20",
                            "--ranks", "8",          "--slots-per-rank",
                            "9",       "--json",     "-"};

json plan(const arguments& args) {
  const ending end = run(args);
  EXPECT_EQ(end.code, 0) << end.text();
  EXPECT_EQ(end.err, "");
  return json::parse(end.out, nullptr, false);
}

TEST(cli_plan, report_follows_the_schema) {
  const json report = plan(with(one_plan, {"--expert-bytes", "1000"}));
  ASSERT_TRUE(report.is_object());
  EXPECT_EQ(report["schema"], "ballast.plan/1");
  EXPECT_EQ(report["command"], "plan");
  EXPECT_TRUE(report["version"].is_string());
  for (const auto& [name, value] :
       {std::pair{"layers", 9}, {"experts", 64}, {"ranks", 8}, {"slots_per_rank", 9}})
    EXPECT_EQ(report[name], value);
  EXPECT_EQ(report["policy"], "flow");
  const auto digest = report["digest"].get<std::string>();
  EXPECT_EQ(digest.size(), 16u);
  EXPECT_EQ(digest.find_first_not_of("0123456789abcdef"), std::string::npos);
  EXPECT_GT(report["plan_seconds"], 0.0);
  const json& balance = report["balance"];
  EXPECT_LT(balance["before"], balance["after"]);
  EXPECT_LE(balance["after"], balance["bound"]);
  EXPECT_GE(balance["gap"], 0.0);
  ASSERT_EQ(balance["per_layer"].size(), 9u);
  std::int64_t moves = 0;
  for (const json& layer : balance["per_layer"]) {
    for (const char* name : {"before", "after", "bound"})
      EXPECT_TRUE(layer[name].is_number()) << name;
    moves += layer["moves"].get<std::int64_t>();
  }
  EXPECT_EQ(report["moves"]["count"], moves);
  EXPECT_EQ(report["moves"]["bytes"], moves * 1000);
  for (const char* link : {"local", "island", "node", "remote"})
    EXPECT_TRUE(report["moves"]["by_link"][link].is_number_integer()) << link;
}

TEST(cli_plan, digest_is_the_same_for_any_number_of_threads) {
  std::set<std::string> digests;
  for (int threads = 1; threads <= 8; ++threads)
    digests.insert(plan(with(one_plan, {"--threads", std::to_string(threads)}))["digest"]);
  EXPECT_EQ(digests.size(), 1u);
  EXPECT_NE(plan(with(one_plan, {"--window", "0:19"}))["digest"], *digests.begin());
}

TEST(cli_plan, placement_file_is_a_place_to_start_from) {
  const temporary_folder folder;
  const std::string file = folder.path("placement.json");
  const json first = plan(with(one_plan, {"--out", file}));
  EXPECT_GT(first["moves"]["count"], 0);
  const json again = plan(with(one_plan, {"--current", file}));
  EXPECT_EQ(again["moves"]["count"], 0) << "what was planned for these loads is planned anew";
  EXPECT_EQ(again["balance"]["before"], first["balance"]["after"]);
  std::ifstream stream(file);
  const json placement = json::parse(stream, nullptr, false);
  EXPECT_EQ(placement["schema"], "ballast.placement/1");
  ASSERT_EQ(placement["placement"].size(), 9u);
  for (const json& layer : placement["placement"]) EXPECT_EQ(layer.size(), 72u);
  // A replay starts from it.
  const ending end = run(8, {"replay", "--generate", "model=deepseek-v2-lite,layers=9,steps=20",
                             "--slots-per-rank", "9", "--interval", "10", "--expert-bytes", "100",
                             "--placement", file, "--mode", "static"});
  EXPECT_TRUE(end.everywhere(8, 0)) << end.text();
}

TEST(cli_plan, forms_of_a_trace_give_the_same_plan) {
  const temporary_folder folder;
  std::string json_text = "{\"steps\": [";
  std::vector<std::int64_t> cells;
  for (int step = 0; step < 3; ++step) {
    json_text += step == 0 ? "[[" : ", [[";
    for (int e = 0; e < 16; ++e) {
      cells.push_back(1 + (step + 1) * e * e % 37);
      json_text += (e == 0 ? "" : ", ") + std::to_string(cells.back());
    }
    json_text += "]]";
  }
  json_text += "]}";
  const std::string plain = folder.write("t.json", json_text);
  const std::string packed = folder.write("t.json.gz", gzip(json_text));
  const std::string array = folder.write(
      "t.npy",
      npy("{'descr': '<i8', 'fortran_order': False, 'shape': (3, 1, 16), }", bytes_of(cells)));
  std::set<std::string> digests;
  for (const std::string& path : {plain, packed, array}) {
    digests.insert(plan({"plan", "--loads", path, "--ranks", "4", "--slots-per-rank", "5", "--json",
                         "-"})["digest"]);
  }
  EXPECT_EQ(digests.size(), 1u);
}

TEST(cli_plan, payback_is_in_the_report_and_bounds_the_moves) {
  const arguments priced = with(one_plan, {"--expert-bytes", "17301504"});
  const json paid = plan(with(priced, {"--token-ns", "40"}))["payback"];
  EXPECT_GT(paid["seconds_saved_per_step"], 0.0);
  EXPECT_GT(paid["transfer_seconds"], 0.0);
  EXPECT_GE(paid["transfer_seconds"], paid["transfer_seconds_by_link"]["island"]);
  EXPECT_FALSE(paid["refused"].get<bool>());
  const auto steps = paid["steps"].get<std::int64_t>();
  ASSERT_GT(steps, 1);
  arguments shown = with(priced, {"--token-ns", "40"});
  *(std::ranges::find(shown, "--json") + 1) = "/dev/null";
  const ending said = run(shown);
  EXPECT_NE(said.out.find(" ms (island "), std::string::npos) << said.text();
  EXPECT_NE(said.out.find("after " + std::to_string(steps) + " steps"), std::string::npos)
      << said.text();
  const auto until = [&](std::int64_t horizon) {
    return plan(with(priced, {"--token-ns", "40", "--horizon", std::to_string(horizon)}));
  };
  EXPECT_GT(until(steps)["moves"]["count"], 0);
  const json refused = until(steps - 1);
  EXPECT_EQ(refused["moves"]["count"], 0);
  EXPECT_TRUE(refused["payback"]["refused"].get<bool>());
  EXPECT_EQ(refused["payback"]["steps"], steps);
  const json table = plan(with(priced, {"--token-ns", "40", "--max-moves", "-1,0"}));
  EXPECT_EQ(table["rows"][0]["payback"], paid);
  EXPECT_EQ(table["rows"][1]["payback"]["transfer_seconds"], 0.0);
}

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

TEST(cli_plan, prices_that_are_missing_are_asked_for) {
  const ending horizon = run(with(one_plan, {"--horizon", "10"}));
  EXPECT_EQ(horizon.code, 64);
  EXPECT_NE(horizon.err.find("--horizon requires --token-ns"), std::string::npos) << horizon.err;
  const ending bytes = run(with(one_plan, {"--token-ns", "10"}));
  EXPECT_EQ(bytes.code, 64);
  EXPECT_NE(bytes.err.find("--token-ns needs --expert-bytes N or --model KEY"), std::string::npos)
      << bytes.err;
}

TEST(cli_plan, equal_shares_are_another_plan_and_no_better_one) {
  const json free = plan(one_plan);
  const json equal = plan(with(one_plan, {"--equal-shares"}));
  EXPECT_NE(free["digest"], equal["digest"]);
  EXPECT_LT(equal["balance"]["after"], free["balance"]["after"]);
}

TEST(cli_plan, moves_are_limited_by_a_number_or_a_part_of_the_slots) {
  const temporary_folder folder;
  const std::string file = folder.path("rows.json");
  const arguments asked = {"plan",    "--generate", "model=deepseek-v2-lite,layers=2,steps=5",
                           "--ranks", "8",          "--slots-per-rank",
                           "9"};
  const ending end = run(with(asked, {"--max-moves", "10%,7,2.5%", "--json", file}));
  ASSERT_EQ(end.code, 0) << end.text();
  std::ifstream stream(file);
  const json rows = json::parse(stream, nullptr, false)["rows"];
  ASSERT_EQ(rows.size(), 3u);
  EXPECT_EQ(rows[0]["max_moves"], 7);  // of 72 slots
  EXPECT_EQ(rows[0]["digest"], rows[1]["digest"]);
  EXPECT_EQ(rows[2]["max_moves"], 1);
  EXPECT_NE(end.out.find("7 (10%)"), std::string::npos) << end.text();
  const ending wrong = run(with(asked, {"--max-moves", "7,120%"}));
  EXPECT_EQ(wrong.code, 64);
  EXPECT_NE(wrong.err.find("--max-moves: Value 120% is neither"), std::string::npos) << wrong.err;
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

TEST(cli_plan, slots_beyond_those_of_the_placement_are_empty) {
  const temporary_folder folder;
  const std::string file = folder.path("placement.json");
  plan(with(one_plan, {"--out", file}));
  const json table =
      plan({"plan", "--generate", "model=deepseek-v2-lite,layers=9,steps=20", "--ranks", "8",
            "--slots-per-rank", "8,9,10", "--current", file, "--json", "-"});
  ASSERT_EQ(table["rows"].size(), 3u);
  EXPECT_TRUE(table["rows"][0].contains("refused")) << "8 slots do not hold what 9 held";
  EXPECT_EQ(table["rows"][1]["balance_before"], table["rows"][2]["balance_before"]);
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

TEST(cli_plan, explanation_accounts_for_every_layer_from_before_to_after) {
  const arguments few = with(one_plan, {"--max-moves", "5", "--expert-bytes", "1000", "--explain"});
  const json report = plan(few);
  const json& layers = report["explain"];
  ASSERT_EQ(layers.size(), 9u) << "loads this uneven change every layer";
  std::int64_t bytes = 0;
  for (const json& layer : layers) {
    const double mean = layer["mean"];
    double max = layer["max_reshared"];
    EXPECT_LE(max, layer["max_before"].get<double>() * (1 + 1e-9));
    int step = -1;
    for (const json& move : layer["moves"]) {
      if (move["step"] != step) {
        EXPECT_EQ(move["step"], step + 1);
        EXPECT_EQ(move["max_before"], max);
      }
      step = move["step"];
      max = move["max_after"];
      EXPECT_EQ(move["to_slot"].get<int>() / 9, move["to_rank"]);
      EXPECT_EQ(move["from_slot"].get<int>() / 9, move["from_rank"]);
      EXPECT_LE(move["relieved_after"], move["relieved_before"]);
      bytes += move["bytes"].get<std::int64_t>();
    }
    EXPECT_EQ(step + 1, layer["steps"]);
    EXPECT_NEAR(max, layer["max_after"].get<double>(), 1e-3 * max);
    const json& balance = report["balance"]["per_layer"][layer["layer"].get<std::size_t>()];
    EXPECT_NEAR(mean / layer["max_before"].get<double>(), balance["before"], 1e-9);
    EXPECT_NEAR(mean / layer["max_after"].get<double>(), balance["after"], 1e-9);
  }
  EXPECT_EQ(bytes, report["moves"]["bytes"]);
  // As text: a line for the shares of each layer and one for each move.
  arguments text = few;
  text.erase(std::ranges::find(text, "--json"), std::ranges::find(text, "--json") + 2);
  const ending end = run(text);
  EXPECT_EQ(end.code, 0) << end.text();
  EXPECT_EQ(std::ranges::count(end.out, '\n'),
            4 + 3 + 9 + report["moves"]["count"].get<std::int64_t>())
      << end.out;
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

TEST(cli_plan, help_and_version) {
  for (const arguments& args :
       {arguments{"--help"}, {"plan", "--help"}, {"replay", "--help"}, {"--version"}}) {
    const ending end = run(args);
    EXPECT_EQ(end.code, 0) << end.text();
    EXPECT_NE(end.out.find("allast"), std::string::npos) << end.text();
    EXPECT_EQ(end.err, "") << end.text();
  }
}

TEST(cli_plan, objective_activations_serves_every_expert_by_one_replica) {
  const auto file = std::filesystem::temp_directory_path() / "ballast_cli_activations.json";
  plan(with(one_plan, {"--objective", "activations", "--out", file.string()}));
  const json placed = json::parse(std::ifstream(file));
  for (const json& layer : placed["shares"]) {
    for (const json& share : layer) EXPECT_TRUE(share == 0 || share == 65536) << share;
  }
  std::filesystem::remove(file);
  EXPECT_EQ(run(with(one_plan, {"--objective", "latency"})).code, 64);
}

}  // namespace
}  // namespace ballast
