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

TEST(cli_plan, help_and_version) {
  for (const arguments& args :
       {arguments{"--help"}, {"plan", "--help"}, {"replay", "--help"}, {"--version"}}) {
    const ending end = run(args);
    EXPECT_EQ(end.code, 0) << end.text();
    EXPECT_NE(end.out.find("allast"), std::string::npos) << end.text();
    EXPECT_EQ(end.err, "") << end.text();
  }
}

}  // namespace
}  // namespace ballast
