// `ballast plan` from end to end: its report and placement file, and the same digest however many
// threads plan.
#include "tests/jobs/cli_plan.hpp"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>

#include "tests/jobs/loads_files.hpp"

namespace ballast {
namespace {

using nlohmann::json;

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
