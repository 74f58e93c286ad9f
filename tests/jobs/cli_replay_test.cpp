// `ballast replay` from end to end: its report, real expert outputs, signals and resuming, and the
// recorded traces.
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <thread>

#include "tests/jobs/cli_process.hpp"
#include "tests/jobs/loads_files.hpp"

namespace ballast {
namespace {

using nlohmann::json;

json read_json(const std::string& path) {
  std::ifstream stream(path);
  return json::parse(stream, nullptr, false);
}

std::string read_bytes(const std::string& path) {
  std::ifstream stream(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(stream), {}};
}

const arguments small = {
    "replay",
    "--generate",
    "model=deepseek-v2-lite,layers=3,experts=24,top_k=2,steps=2000,tokens_per_step=256",
    "--interval",
    "100",
    "--expert-bytes",
    "1003"};

arguments with(arguments args, const arguments& more) {
  args.insert(args.end(), more.begin(), more.end());
  return args;
}

// Names and types as in the documented contract.
void expect_fields(const json& object,
                   const std::vector<std::pair<const char*, json::value_t>>& fields) {
  for (const auto& [name, type] : fields) {
    ASSERT_TRUE(object.contains(name)) << name << " is missing in " << object.dump().substr(0, 400);
    const json& value = object[name];
    const bool fits = type == json::value_t::number_float      ? value.is_number()
                      : type == json::value_t::number_unsigned ? value.is_number_integer()
                                                               : value.type() == type;
    EXPECT_TRUE(fits) << name << " is " << value.dump().substr(0, 100);
  }
}

constexpr auto whole = json::value_t::number_unsigned;
constexpr auto real = json::value_t::number_float;
constexpr auto text = json::value_t::string;
constexpr auto object = json::value_t::object;
constexpr auto list = json::value_t::array;

void expect_bytes(const json& bytes) {
  expect_fields(bytes, {{"local", whole}, {"island", whole}, {"node", whole}, {"remote", whole}});
}

// The schema, and that the parts agree with each other.
void expect_report(const json& report, int ranks) {
  ASSERT_TRUE(report.is_object());
  expect_fields(report, {{"schema", text},
                         {"version", text},
                         {"command", text},
                         {"ranks", whole},
                         {"backend", text},
                         {"memory", text},
                         {"transport", text},
                         {"epochs", list},
                         {"summary", object}});
  EXPECT_EQ(report["schema"], "ballast.replay/1");
  EXPECT_EQ(report["command"], "replay");
  EXPECT_EQ(report["ranks"], ranks);
  std::int64_t moves = 0;
  std::int64_t committed = 0;
  for (const json& epoch : report["epochs"]) {
    expect_fields(epoch, {{"epoch", whole},
                          {"step_triggered", whole},
                          {"outcome", text},
                          {"reason", text},
                          {"layers_changed", whole},
                          {"moves", whole},
                          {"bytes", object},
                          {"balance_before", real},
                          {"balance_planned", real},
                          {"plan_seconds", real},
                          {"exchange_seconds", real},
                          {"stall_seconds_max", real}});
    for (const char* name : {"step_committed", "balance_next_window"}) {
      EXPECT_TRUE(epoch.contains(name) && (epoch[name].is_number() || epoch[name].is_null()))
          << name;
    }
    expect_bytes(epoch["bytes"]);
    EXPECT_LE(epoch["balance_planned"], 1.0);
    moves += epoch["moves"].get<std::int64_t>();
    committed += epoch["outcome"] == "committed";
  }
  const json& summary = report["summary"];
  expect_fields(summary, {{"steps", whole},
                          {"epochs_committed", whole},
                          {"moves", whole},
                          {"bytes", object},
                          {"balance_first_window", real},
                          {"balance_last_window", real},
                          {"step_seconds", object},
                          {"verified_slots", whole},
                          {"wrong_bytes", whole}});
  expect_fields(summary["step_seconds"], {{"p50", real}, {"p99", real}, {"max", real}});
  expect_bytes(summary["bytes"]);
  EXPECT_EQ(summary["moves"], moves);
  EXPECT_EQ(summary["epochs_committed"], committed);
  EXPECT_EQ(summary["wrong_bytes"], 0);
  EXPECT_GT(summary["verified_slots"], 0);
}

class cli_replay : public testing::Test {
 protected:
  json replay(int ranks, const arguments& args) {
    const std::string path = folder_.path("report.json");
    const ending end = run(ranks, with(args, {"--json", path}));
    EXPECT_FALSE(end.timed_out) << end.text();
    EXPECT_TRUE(end.everywhere(ranks, 0)) << end.text();
    EXPECT_TRUE(end.complaints().empty()) << end.text();
    const json report = read_json(path);
    expect_report(report, ranks);
    return report;
  }
  temporary_folder folder_;
};

TEST_F(cli_replay, report_follows_the_schema_at_any_number_of_ranks) {
  // Loads that do not drift: however few epochs a slow machine fits in, the first one lasts.
  arguments steady = small;
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
  const ending end = run(2, with(small, {"--json", "-", "--quiet"}));
  EXPECT_TRUE(end.everywhere(2, 0)) << end.text();
  expect_report(json::parse(end.out, nullptr, false), 2);
  EXPECT_EQ(end.err, "");
}

TEST_F(cli_replay, table_progress_and_summary_are_printed) {
  const ending end = run(2, small);
  for (const char* part :
       {"# ballast ", "2 ranks", "committed", "2000 steps", "0 wrong bytes", "replay ok"}) {
    EXPECT_NE(end.out.find(part), std::string::npos) << "\"" << part << "\" is missing:\n"
                                                     << end.text();
  }
  EXPECT_NE(end.err.find("step 1/2000"), std::string::npos) << end.text();
}

TEST_F(cli_replay, backend_and_transport_in_the_report_are_those_used) {
  const json two = replay(2, with(small, {"--backend", "host", "--steps", "100"}));
  EXPECT_EQ(two["backend"], "host");
  EXPECT_EQ(two["transport"], "mpi");
  const json one = replay(1, with(small, {"--transport", "mpi", "--steps", "100"}));
  EXPECT_EQ(one["backend"], "host");
  EXPECT_EQ(one["transport"], "local");
  const ending chosen = run(2, with(small, {"--transport", "mpi", "--steps", "100"}));
  EXPECT_NE(chosen.out.find("host memory (auto: --transport is mpi), weights by mpi"),
            std::string::npos)
      << chosen.text();
}

TEST_F(cli_replay, expert_outputs_are_those_of_the_initial_placement) {
  const json report =
      replay(3, with(small, {"--ffn", "--ffn-tokens", "16", "--way", "staged", "--steps", "300"}));
  EXPECT_GT(report["summary"]["moves"], 0);
  EXPECT_EQ(report["summary"]["outputs_identical"], true);
  EXPECT_GT(report["summary"]["outputs_compared"], 0);
}

TEST_F(cli_replay, every_way_and_mode) {
  for (const char* way : {"vacate", "spare", "staged"}) {
    SCOPED_TRACE(way);
    EXPECT_GT(replay(3, with(small, {"--way", way, "--spare-rows", "1", "--bytes-per-step",
                                     "3000"}))["summary"]["moves"],
              0);
  }
  EXPECT_EQ(replay(2, with(small, {"--mode", "record"}))["epochs"][0]["outcome"], "recorded");
  EXPECT_TRUE(replay(2, with(small, {"--mode", "static"}))["epochs"].empty());
}

TEST_F(cli_replay, equal_shares_end_in_another_balance) {
  const json free = replay(2, small)["epochs"][0];
  const json equal = replay(2, with(small, {"--equal-shares"}))["epochs"][0];
  EXPECT_LT(equal["balance_planned"], free["balance_planned"]);
}

// An interval that is much longer than it takes to plan.
arguments unhurried() {
  arguments args = small;
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
  arguments recorded = with(small, {"--mode", "record"});
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
  const arguments short_replay = with(small, {"--steps", "300"});
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
  arguments recorded = with(small, {"--mode", "record", "--steps", "130"});
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

TEST_F(cli_replay, moves_may_be_limited_to_a_part_of_the_slots) {
  const arguments recorded = with(small, {"--mode", "record", "--steps", "130"});
  const auto first = [&](const char* limit) {  // of 3 ranks x 9 slots
    return replay(3, with(recorded, {"--max-moves", limit}))["epochs"][0]["digest"];
  };
  const json tenth = first("10%");
  EXPECT_EQ(tenth, first("2"));
  EXPECT_NE(tenth, first("100%"));
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
    const ending end = run(2, with(small, more));
    EXPECT_TRUE(end.everywhere(2, 64)) << end.text();
    EXPECT_NE(end.err.find(says), std::string::npos) << "\"" << says << "\" is not in: " << end.err;
  }
}

TEST_F(cli_replay, a_budget_of_slots_is_dealt_out_and_resumed_with) {
  const int fewest = 24;  // experts; over the ranks, in each of 3 layers
  for (const int ranks : {1, 2, 3, 4}) {
    const std::string state = folder_.path("state" + std::to_string(ranks));
    const std::string budget = std::to_string(3 * fewest / ranks + 2);
    const json first = replay(ranks, with(small, {"--slots-budget", budget, "--state", state}));
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
    const json again =
        replay(ranks, with(small, {"--slots-budget", budget, "--state", state, "--steps", "200"}));
    EXPECT_EQ(again["slots_per_layer"], first["slots_per_layer"]);
  }
}

TEST_F(cli_replay, rehearsed_faults_end_well) {
  const arguments verbose = with(small, {"--deadline-seconds", "20"});
  const ending digest = run(2, with(verbose, {"--drill", "digest:1:0"}));
  EXPECT_TRUE(digest.everywhere(2, 0)) << digest.text();
  EXPECT_NE(digest.out.find("dropped: plans differ"), std::string::npos) << digest.text();
  const ending checksum = run(2, with(verbose, {"--drill", "checksum:1:0"}));
  EXPECT_TRUE(checksum.everywhere(2, 0)) << checksum.text();
  EXPECT_NE(checksum.out.find("scheduled anew 1 times"), std::string::npos) << checksum.text();
}

TEST_F(cli_replay, a_rank_that_hangs_ends_the_job_with_its_number) {
  const arguments args = with(small, {"--drill", "stall:1:0", "--deadline-seconds", "1"});
  process job({{3, args}});
  const ending end = job.wait(30);
  EXPECT_FALSE(end.timed_out) << end.text();
  EXPECT_NE(end.err.find("no answer from rank 1 within 1 s"), std::string::npos) << end.text();
}

// Most of its time such a job is outside ballast_step, in its own collectives.
TEST_F(cli_replay, a_rank_that_is_stopped_ends_the_job_with_its_number) {
  for (const arguments& more : {arguments{"--interval", "1"}, arguments{"--interval", "1000000"},
                                arguments{"--interval", "3", "--ffn"}}) {
    SCOPED_TRACE(testing::PrintToString(more));
    arguments args = with(small, {"--deadline-seconds", "1", "--quiet"});
    args[2] = "model=deepseek-v2-lite,layers=2,experts=8,top_k=2,steps=100000000,tokens_per_step=8";
    args.erase(std::ranges::find(args, "--interval"), std::ranges::find(args, "--expert-bytes"));
    process job({{2, with(args, more)}});
    std::this_thread::sleep_for(std::chrono::seconds(1));
    job.signal_rank(1, SIGSTOP);
    const ending end = job.wait(30);
    EXPECT_FALSE(end.timed_out) << end.text();
    EXPECT_NE(end.code, 0) << end.text();
    EXPECT_NE(end.err.find("no answer from rank 1 within 1 s"), std::string::npos) << end.text();
  }
}

// A job that plays until it is told to stop, most of the time in the middle of an epoch.
const arguments endless = {
    "replay",
    "--generate",
    "model=deepseek-v2-lite,layers=3,experts=24,top_k=2,steps=100000000,tokens_per_step=128",
    "--interval",
    "5",
    "--expert-bytes",
    "1003",
    "--gain-min",
    "0",
    "--bytes-per-step",
    "1",
    "--receives-per-batch",
    "1",
    "--spare-rows",
    "2"};

class cli_signals : public cli_replay {
 protected:
  // Stops a job by a signal to one rank only.
  ending stop(int ranks, const arguments& args, int signal, int millis) {
    process job({{ranks, args}});
    EXPECT_TRUE(job.wait_for_error_text("step "));
    std::this_thread::sleep_for(std::chrono::milliseconds(millis));
    job.signal_rank(ranks - 1, signal);
    return job.wait(20);
  }
  // What was saved is a placement that both subcommands accept, and that a replay which moves
  // nothing saves again as it is.
  void expect_resumes(const std::string& state, int ranks) {
    ASSERT_TRUE(std::filesystem::exists(state));
    const json before = read_json(state);
    const std::string loads = state + ".loads.npy";
    const std::string loads_before = read_bytes(loads);
    EXPECT_EQ(before["schema"], "ballast.placement/1");
    const ending plan =
        run({"plan", "--generate", "layers=3,experts=24,steps=1", "--ranks", std::to_string(ranks),
             "--slots-per-rank", std::to_string(before["slots_per_rank"].get<int>()), "--current",
             state});
    EXPECT_EQ(plan.code, 0) << plan.text();
    const ending again =
        run(ranks, with(endless, {"--state", state, "--mode", "static", "--steps", "100"}));
    EXPECT_TRUE(again.everywhere(ranks, 0)) << again.text();
    EXPECT_EQ(read_json(state), before);
    EXPECT_EQ(read_bytes(loads), loads_before);
    const auto windows = loads_before.empty() ? 0 : open_trace(loads)->steps();
    EXPECT_NE(again.out.find("the loads of " + std::to_string(windows) + " windows"),
              std::string::npos)
        << again.text();
  }
};

TEST_F(cli_signals, user_signal_finishes_the_epoch_and_asks_to_be_queued_again) {
  for (const int ranks : {1, 2, 4}) {
    SCOPED_TRACE(std::to_string(ranks) + " ranks");
    const std::string state = folder_.path("state" + std::to_string(ranks));
    const std::string report = folder_.path("report" + std::to_string(ranks));
    const ending end =
        stop(ranks, with(endless, {"--state", state, "--json", report}), SIGUSR1, 200);
    EXPECT_TRUE(end.everywhere(ranks, 75)) << end.text();
    EXPECT_NE(end.out.find("as asked, state saved"), std::string::npos) << end.text();
    expect_report(read_json(report), ranks);
    expect_resumes(state, ranks);
  }
}

TEST_F(cli_signals, termination_saves_what_serves_at_once) {
  const std::pair<int, const char*> cases[] = {
      {1, "auto"}, {3, "vacate"}, {3, "spare"}, {4, "spare"}, {4, "staged"}};
  for (const auto& [ranks, way] : cases) {
    for (const int millis : {0, 50}) {
      SCOPED_TRACE(std::to_string(ranks) + " ranks, way " + way + ", " + std::to_string(millis) +
                   " ms");
      const std::string state = folder_.path("state");
      std::filesystem::remove(state);
      const ending end =
          stop(ranks, with(endless, {"--state", state, "--way", way}), SIGTERM, millis);
      EXPECT_TRUE(end.everywhere(ranks, 143)) << end.text();
      EXPECT_LT(end.seconds, 10) << "half a second is promised; a machine under load takes longer";
      expect_resumes(state, ranks);
    }
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
