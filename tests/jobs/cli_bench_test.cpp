// `ballast bench` from end to end, in small: what it times is right, and its JSON is what the
// contract says.
#include <gtest/gtest.h>

#include <cstdlib>
#include <nlohmann/json.hpp>
#include <set>

#include "tests/jobs/cli_process.hpp"
#include "tests/jobs/loads_files.hpp"

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

TEST(cli_bench, plans_of_every_policy_are_legal) {
  const ending end = run({"bench", "plan", "--shapes", "dsv3_ep32_288_hier,qwen3_ep64_192",
                          "--families", "logn1.0,zeros", "--repetitions", "1", "--json", "-"});
  EXPECT_EQ(end.code, 0) << end.text();
  const json rows = rows_of(end, "plan");
  std::set<std::string> policies;
  for (const json& row : rows) {
    SCOPED_TRACE(row.dump());
    policies.insert(row["policy"]);
    EXPECT_GT(row["plan_median_ms"], 0.0);
    EXPECT_GT(row["greedy_median_ms"], 0.0);
    EXPECT_LE(row["balance"].get<double>(), row["balance_bound"].get<double>() + 1e-9);
    EXPECT_GT(row["peer_balance"], 0.5);
    if (row["policy"] == "deepseek") {
      EXPECT_GE(row["balance"].get<double>(), row["greedy_balance"].get<double>() * 0.999);
    }
  }
  // All but the hierarchical one can plan both shapes.
  EXPECT_TRUE(policies.contains("flow") && policies.contains("deepseek-hierarchical"));
  EXPECT_EQ(rows.size(), policies.size() * 4 - 2);
  EXPECT_EQ(json::parse(end.out)["notes"].back().get<std::string>().find("no plan by deepseek-"),
            0u);
}

TEST(cli_bench, flow_with_equal_shares_is_between_the_greedy_and_free_shares) {
  const auto balance = [](const arguments& more) {
    arguments args = {"bench",         "plan",    "--shapes",   "qwen3_ep16_144",
                      "--families",    "zipf1.0", "--policies", "flow",
                      "--repetitions", "1",       "--json",     "-"};
    args.insert(args.end(), more.begin(), more.end());
    return rows_of(run(args), "plan")[0];
  };
  const json free = balance({});
  const json equal = balance({"--equal-shares"});
  EXPECT_GT(equal["balance"], equal["greedy_balance"]);
  EXPECT_LT(equal["balance"], free["balance"]);
}

TEST(cli_bench, families_of_loads_are_what_they_are_called) {
  const auto gap = [](const std::string& family) {
    const ending end = run({"bench", "plan", "--shapes", "qwen3_ep16_144", "--families", family,
                            "--policies", "static", "--repetitions", "1", "--json", "-"});
    return rows_of(end, "plan")[0]["balance"].get<double>();
  };
  EXPECT_GT(gap("uniform"), 0.8);
  EXPECT_GT(gap("logn0.5"), gap("logn1.0"));
  EXPECT_GT(gap("logn1.0"), gap("logn1.5"));
  EXPECT_GT(gap("zipf0.6"), gap("zipf1.0"));
  EXPECT_GT(gap("zipf1.0"), gap("zipf1.4"));
  // One expert with 30 % in one of 16 ranks; the mean is 6.25 %.
  EXPECT_NEAR(gap("hot30"), 0.0625 / 0.34, 0.06);
}

TEST(cli_bench, loads_of_a_folder_are_read) {
  const temporary_folder folder;
  std::vector<std::int64_t> cells(94 * 128, 10);
  const auto write = [&](int layers) {
    cells.resize(static_cast<std::size_t>(layers) * 128);
    folder.write("qwen3_logn1.0.npy", npy("{'descr': '<i8', 'fortran_order': False, 'shape': (" +
                                              std::to_string(layers) + ", 128), }",
                                          bytes_of(cells)));
  };
  const arguments args = {"bench",         "plan",    "--shapes",   "qwen3_ep64_192",
                          "--families",    "logn1.0", "--policies", "static",
                          "--repetitions", "1",       "--loads",    folder.path(""),
                          "--json",        "-"};
  EXPECT_EQ(run(args).code, 65) << "there is no such file";
  write(94);
  // 128 equal experts once, and 64 of them twice, on 192 slots of 64 ranks.
  EXPECT_NEAR(rows_of(run(args), "plan")[0]["balance"].get<double>(), 2.0 / 3, 0.01);
  write(93);
  const ending end = run(args);
  EXPECT_EQ(end.code, 65) << end.text();
  EXPECT_NE(end.err.find("93 layers"), std::string::npos) << end.text();
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

TEST(cli_bench, without_a_gpu_one_line_says_so_on_all_ranks) {
  setenv("CUDA_VISIBLE_DEVICES", "", 1);  // hides those there are
  for (const char* bench : {"exchange", "overlap", "reduce", "record", "route", "step"}) {
    const arguments args = {"bench", bench, "--backend", "cuda"};
    const ending end = run(2, args);
    EXPECT_TRUE(end.everywhere(2, 71)) << end.text();
    EXPECT_EQ(end.out, "");
    ASSERT_EQ(end.complaints().size(), 1u) << end.text();
    EXPECT_NE(end.complaints()[0].find("--backend cuda: "), std::string::npos) << end.text();
  }
  unsetenv("CUDA_VISIBLE_DEVICES");
}

TEST(cli_bench, unknown_names_are_named) {
  for (const arguments& args : {arguments{"bench", "plan", "--shapes", "atlantis"},
                                {"bench", "plan", "--families", "atlantis"},
                                {"bench", "plan", "--policies", "atlantis"},
                                {"bench", "record", "--cases", "atlantis"},
                                {"bench", "exchange", "--way", "atlantis"}}) {
    const ending end = run(args);
    EXPECT_EQ(end.code, 64) << end.text();
    EXPECT_NE(end.err.find("atlantis"), std::string::npos) << end.text();
  }
}

}  // namespace
}  // namespace ballast
