// `ballast replay` that is stopped: rehearsed faults, silent ranks, signals, and resuming from what
// was saved.
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>
#include <utility>

#include "tests/jobs/cli_replay.hpp"

namespace ballast {
namespace {

using nlohmann::json;

std::string read_bytes(const std::string& path) {
  std::ifstream stream(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(stream), {}};
}

TEST_F(cli_replay, rehearsed_faults_end_well) {
  const arguments verbose = with(small_replay, {"--deadline-seconds", "20"});
  const ending digest = run(2, with(verbose, {"--drill", "digest:1:0"}));
  EXPECT_TRUE(digest.everywhere(2, 0)) << digest.text();
  EXPECT_NE(digest.out.find("dropped: plans differ"), std::string::npos) << digest.text();
  const ending checksum = run(2, with(verbose, {"--drill", "checksum:1:0"}));
  EXPECT_TRUE(checksum.everywhere(2, 0)) << checksum.text();
  EXPECT_NE(checksum.out.find("scheduled anew 1 times"), std::string::npos) << checksum.text();
}

TEST_F(cli_replay, a_rank_that_hangs_ends_the_job_with_its_number) {
  const arguments args = with(small_replay, {"--drill", "stall:1:0", "--deadline-seconds", "1"});
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
    arguments args = with(small_replay, {"--deadline-seconds", "1", "--quiet"});
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

}  // namespace
}  // namespace ballast
