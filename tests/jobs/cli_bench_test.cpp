// `ballast bench` from end to end, in small: what it times is right, and its JSON is what the
// contract says.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "tests/jobs/cli_process.hpp"

namespace ballast {
namespace {

using nlohmann::json;

json rows_of(const ending& end, const std::string& bench) {
  const json report = json::parse(end.out, nullptr, false);
  EXPECT_TRUE(report.is_object()) << end.text();
  if (!report.is_object()) return json::array();
  EXPECT_EQ(report["schema"], "ballast.bench/1");
  EXPECT_EQ(report["bench"], bench);
  EXPECT_TRUE(report["version"].is_string());
  EXPECT_FALSE(report["rows"].empty());
  for (const json& row : report["rows"]) EXPECT_EQ(row["wrong"], 0) << row;
  return report["rows"];
}

TEST(cli_bench, plan_is_legal_and_as_good_as_the_greedy) {
  const ending end =
      run({"bench", "plan", "--shapes", "dsv3_ep32_288_hier,qwen3_ep64_192", "--families",
           "logn1.0,hot30,zeros", "--repetitions", "1", "--json", "-"});
  EXPECT_EQ(end.code, 0) << end.text();
  const json rows = rows_of(end, "plan");
  EXPECT_EQ(rows.size(), 6u);
  for (const json& row : rows) {
    EXPECT_GT(row["plan_median_ms"], 0.0);
    EXPECT_GT(row["greedy_median_ms"], 0.0);
    EXPECT_LE(row["balance"].get<double>(), row["balance_bound"].get<double>() + 1e-9);
  }
}

TEST(cli_bench, step_is_right_for_one_rank_and_for_three) {
  const arguments args = {"bench",    "step", "--batches", "10", "--epochs",     "3",
                          "--layers", "2",    "--experts", "12", "--expert-kib", "1",
                          "--json",   "-"};
  for (const int ranks : {1, 3}) {
    const ending end = run(ranks, args);
    EXPECT_TRUE(end.everywhere(ranks, 0)) << end.text();
    const json rows = rows_of(end, "step");
    EXPECT_EQ(rows.front()["state"], "idle");
    EXPECT_EQ(rows.back()["state"], "in flight");
  }
}

TEST(cli_bench, exchange_moves_the_right_bytes_in_every_way) {
  const ending end = run(2, {"bench", "exchange", "--expert-kib", "3,64", "--weights-mib", "1",
                             "--way", "auto,vacate,spare,staged", "--verify", "full,sample,off",
                             "--tensors", "3", "--epochs", "2", "--json", "-"});
  EXPECT_TRUE(end.everywhere(2, 0)) << end.text();
  const json rows = rows_of(end, "exchange");
  EXPECT_EQ(rows.size(), 24u);
  for (const json& row : rows) EXPECT_GT(row["received_mib_per_rank"], 0.0) << row;
}

TEST(cli_bench, exchange_alone_says_how_to_call_it) {
  const ending end = run(1, {"bench", "exchange"});
  EXPECT_TRUE(end.everywhere(1, 64)) << end.text();
  EXPECT_NE(end.err.find("mpirun -np 2"), std::string::npos) << end.text();
}

TEST(cli_bench, record_and_route_are_right) {
  for (const int ranks : {1, 2}) {
    const ending record =
        run(ranks, {"bench", "record", "--cases", "1x1/1,7x3/5,500x8/256", "--json", "-"});
    EXPECT_TRUE(record.everywhere(ranks, 0)) << record.text();
    EXPECT_EQ(rows_of(record, "record").size(), 6u);
    const ending route =
        run(ranks, {"bench", "route", "--tokens", "300", "--experts", "9", "--json", "-"});
    EXPECT_TRUE(route.everywhere(ranks, 0)) << route.text();
    EXPECT_EQ(rows_of(route, "route").size(), 10u);
  }
}

TEST(cli_bench, unknown_names_are_named) {
  for (const arguments& args : {arguments{"bench", "plan", "--shapes", "atlantis"},
                                {"bench", "plan", "--families", "atlantis"},
                                {"bench", "record", "--cases", "atlantis"},
                                {"bench", "exchange", "--way", "atlantis"}}) {
    const ending end = run(args);
    EXPECT_EQ(end.code, 64) << end.text();
    EXPECT_NE(end.err.find("atlantis"), std::string::npos) << end.text();
  }
}

}  // namespace
}  // namespace ballast
