// Every input that can be wrong: one line on standard error that names what is wrong, the
// documented exit code on all ranks, and no rank that hangs.
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>

#include "tests/jobs/cli_process.hpp"
#include "tests/jobs/loads_files.hpp"

namespace ballast {
namespace {

constexpr int usage = 64;
constexpr int bad_input = 65;
constexpr int system_trouble = 71;
constexpr int system_error = 71;

// 2 steps, 1 layer, 8 experts.
constexpr const char* good_trace =
    R"({"topk": 2, "steps": [[[9, 1, 1, 1, 2, 3, 1, 1]], [[9, 1, 1, 1, 2, 3, 1, 1]]]})";

struct input {
  std::string name;
  std::string content;
  std::string says;  // part of the complaint, beside the file's name
};

std::vector<input> bad_loads() {
  const std::string bytes_64(64, '\0');
  return {
      {"empty.json", "", ""},
      {"text.json", "these are no loads", ""},
      {"cut.json", R"({"steps": [[[1, 2, 3)", ""},
      {"cut.json.gz", gzip(good_trace).substr(0, 40), ""},
      {"list.json", "[1, 2, 3]", ""},
      {"none.json", R"({"layers": 1})", "steps"},
      {"empty_steps.json", R"({"steps": []})", "steps"},
      {"no_layers.json", R"({"steps": [[]]})", "steps[0]"},
      {"no_experts.json", R"({"steps": [[[]]]})", "steps[0][0]"},
      {"ragged.json", R"({"steps": [[[1, 2], [1]]]})", "steps[0][1]"},
      {"ragged_steps.json", R"({"steps": [[[1, 2]], [[1, 2], [1, 2]]]})", "steps[1]"},
      {"negative.json", R"({"steps": [[[1, -4]]]})", "-4"},
      {"fraction.json", R"({"steps": [[[1, 0.5]]]})", "0.5"},
      {"infinite.json", R"({"steps": [[[1, 1e999]]]})", "1e999"},
      {"nan.json", R"({"steps": [[[1, NaN]]]})", ""},
      {"huge.json", R"({"steps": [[[1, 9223372036854775808]]]})", "9223372036854775808"},
      {"words.json", R"({"steps": [[["a", "b"]]]})", "steps[0][0][0]"},
      {"layers_differ.json", R"({"layers": 2, "steps": [[[1, 2]]]})", "layers"},
      {"deep.json", std::string(100000, '['), ""},
      {"flat.npy", npy("{'descr': '<i8', 'fortran_order': False, 'shape': (8,), }", bytes_64),
       "1 dimensions"},
      {"short.npy", npy("{'descr': '<i8', 'fortran_order': False, 'shape': (4, 8), }", bytes_64),
       ""},
      {"object.npy", npy("{'descr': '|O', 'fortran_order': False, 'shape': (1, 8), }", bytes_64),
       "|O"},
      {"nan.npy",
       npy("{'descr': '<f8', 'fortran_order': False, 'shape': (1, 2), }",
           bytes_of<double>({1.0, 0.0 / -0.0})),
       "[0][1]"},
  };
}

void expect_complaint(const ending& end, int ranks, int code, const arguments& parts) {
  EXPECT_FALSE(end.timed_out) << end.text();
  if (ranks == 0) {
    EXPECT_EQ(end.code, code) << end.text();
  } else {
    EXPECT_TRUE(end.everywhere(ranks, code)) << end.text();
  }
  const arguments lines = end.complaints();
  ASSERT_EQ(lines.size(), 1u) << end.text();
  for (const std::string& part : parts)
    EXPECT_NE(lines[0].find(part), std::string::npos)
        << "\"" << part << "\" is not in: " << lines[0];
  EXPECT_LT(lines[0].size(), 500u) << lines[0];
}

class cli_bad_input : public testing::Test {
 protected:
  temporary_folder folder_;
  std::string trace_ = folder_.write("good.json", good_trace);

  // A replay of two ranks that is good but for `more`.
  void expect_replay_fails(const arguments& more, int code, const arguments& parts,
                           bool with_trace = true) {
    SCOPED_TRACE(testing::PrintToString(more));
    arguments args = {"replay", "--quiet", "--expert-bytes", "100"};
    if (with_trace) args.insert(args.end(), {"--trace", trace_});
    args.insert(args.end(), more.begin(), more.end());
    expect_complaint(run(2, args), 2, code, parts);
  }
  void expect_plan_fails(const arguments& more, int code, const arguments& parts,
                         bool with_loads = true) {
    SCOPED_TRACE(testing::PrintToString(more));
    arguments args = {"plan", "--quiet", "--ranks", "2"};
    if (with_loads) args.insert(args.end(), {"--loads", trace_});
    args.insert(args.end(), more.begin(), more.end());
    expect_complaint(run(args), 0, code, parts);
  }
  std::string placement(const std::string& experts, const std::string& shares, int ranks = 2) {
    return folder_.write(
        "placement.json",
        R"({"schema": "ballast.placement/1", "layers": 1, "experts": 8, "ranks": )" +
            std::to_string(ranks) + R"(, "slots_per_rank": 5, "placement": [[)" + experts +
            R"(]], "shares": [[)" + shares + "]]}");
  }
};

TEST_F(cli_bad_input, good_input_is_good) {
  const ending replay =
      run(2, {"replay", "--trace", trace_, "--slots-per-rank", "5", "--expert-bytes", "100"});
  EXPECT_TRUE(replay.everywhere(2, 0)) << replay.text();
  EXPECT_TRUE(replay.complaints().empty()) << replay.text();
  const ending plan = run({"plan", "--loads", trace_, "--ranks", "2", "--slots-per-rank", "5"});
  EXPECT_EQ(plan.code, 0) << plan.text();
}

TEST_F(cli_bad_input, loads_of_plan) {
  for (const input& bad : bad_loads()) {
    const std::string path = folder_.write(bad.name, bad.content);
    expect_plan_fails({"--loads", path, "--slots-per-rank", "5"}, bad_input, {path, bad.says},
                      false);
  }
}

TEST_F(cli_bad_input, loads_of_replay) {
  for (const input& bad : bad_loads()) {
    const std::string path = folder_.write(bad.name, bad.content);
    expect_replay_fails({"--trace", path}, bad_input, {path, bad.says}, false);
  }
}

TEST_F(cli_bad_input, files_that_cannot_be_read) {
  const std::string missing = folder_.path("missing.json");
  const std::string directory = folder_.path("");
  const std::string oversized = folder_.write("oversized.json", "{");
  std::filesystem::resize_file(oversized, std::uintmax_t{400} << 20);  // a hole: takes no room
  for (const std::string& path : {missing, directory, oversized}) {
    expect_plan_fails({"--loads", path, "--slots-per-rank", "5"}, bad_input, {path}, false);
    expect_plan_fails({"--current", path, "--slots-per-rank", "5"}, bad_input, {path});
    expect_replay_fails({"--trace", path}, bad_input, {path}, false);
    expect_replay_fails({"--placement", path, "--slots-per-rank", "5"}, bad_input, {path});
  }
  expect_replay_fails({"--topology", folder_.path("missing.xml")}, bad_input, {"missing.xml"});
  expect_plan_fails({"--topology", folder_.path("missing.xml"), "--slots-per-rank", "5"}, bad_input,
                    {"missing.xml"});
}

// Before a step is played, not after the last one.
TEST_F(cli_bad_input, files_that_cannot_be_written) {
  for (const char* option : {"--json", "--state"}) {
    const std::string missing = folder_.path("no/such/folder/file");
    expect_replay_fails({option, missing}, system_trouble, {missing, "cannot create"});
    expect_replay_fails({option, folder_.path("")}, system_trouble, {"is a directory"});
  }
  expect_plan_fails({"--json", folder_.path("no/such/file"), "--slots-per-rank", "5"},
                    system_trouble, {"no/such/file", "cannot create"});
  expect_plan_fails({"--json", "/dev/full", "--slots-per-rank", "5"}, system_trouble,
                    {"/dev/full: cannot write: No space left"});
}

TEST_F(cli_bad_input, a_file_that_one_rank_does_not_have) {
  const std::string missing = folder_.path("missing.json");
  const auto with = [](const std::string& trace) {
    return arguments{"replay", "--quiet", "--trace", trace, "--expert-bytes", "100"};
  };
  for (const int odd : {0, 1, 2}) {
    SCOPED_TRACE("rank " + std::to_string(odd));
    std::vector<rank_group> groups;
    for (int rank = 0; rank < 3; ++rank)
      groups.push_back({1, with(rank == odd ? missing : trace_)});
    const arguments parts =
        odd == 0 ? arguments{missing} : arguments{missing, "rank " + std::to_string(odd)};
    expect_complaint(process(groups).wait(), 3, bad_input, parts);
  }
}

TEST_F(cli_bad_input, a_state_that_some_ranks_do_not_see) {
  const auto with = [&](const std::string& state) {
    return arguments{"replay",         "--quiet", "--trace", trace_,
                     "--expert-bytes", "100",     "--state", state};
  };
  const std::string state = folder_.path("state");
  EXPECT_TRUE(run(3, with(state)).everywhere(3, 0));
  expect_complaint(process({{2, with(state)}, {1, with(folder_.path("other"))}}).wait(), 3,
                   bad_input, {state, "some ranks"});
}

TEST_F(cli_bad_input, more_tokens_than_a_rank_can_hold) {
  for (const char* load : {"2305843009213693952", "4294967296"}) {
    const std::string path =
        folder_.write("many.json", std::string(R"({"topk": 1, "steps": [[[)") + load + ", 1]]]}");
    expect_replay_fails({"--trace", path}, bad_input, {"step 0, layer 0", "268435456 ids"}, false);
  }
}

TEST_F(cli_bad_input, ranks_that_were_told_different_things) {
  const auto with = [&](const arguments& more) {
    arguments args = {"replay", "--quiet", "--trace", trace_};
    args.insert(args.end(), more.begin(), more.end());
    return args;
  };
  expect_complaint(process({{2, with({})}, {1, with({"--interval", "7"})}}).wait(), 3, 78,
                   {"interval", "7 on rank 2"});
  expect_complaint(process({{2, with({})}, {1, with({"--expert-bytes", "200"})}}).wait(), 3, 78,
                   {"layer 0", "tensors"});
}

TEST_F(cli_bad_input, slots_and_shapes_that_do_not_fit) {
  expect_replay_fails({"--slots-per-rank", "3"}, bad_input, {"slots_per_rank", "3", "8 experts"});
  expect_plan_fails({"--slots-per-rank", "3"}, bad_input, {"slots", "8"});
  expect_replay_fails({"--slots-per-rank", "0"}, usage, {"--slots-per-rank", "0"});
  expect_replay_fails({"--seed", "18446744073709551616"}, usage,
                      {"--seed", "18446744073709551616"});
  expect_replay_fails({"--layers", "0"}, usage, {"--layers", "0"});
  expect_replay_fails({"--layers", "2"}, bad_input, {"--layers", "2", trace_});
  expect_replay_fails({"--experts", "9"}, bad_input, {"--experts", "9", "8", trace_});
  expect_replay_fails({"--expert-bytes", "0"}, usage, {"--expert-bytes", "0"});
  expect_plan_fails({"--expert-bytes", "0", "--slots-per-rank", "5"}, usage,
                    {"--expert-bytes", "0"});
  expect_replay_fails({"--steps", "3"}, bad_input, {"--steps", "3", trace_});
  expect_plan_fails({"--window", "1:3", "--slots-per-rank", "5"}, bad_input, {"1:3"});
  expect_replay_fails({"--generate", "layers=0"}, bad_input, {"layers=0"}, false);
  expect_replay_fails({"--generate", "experts=0"}, bad_input, {"experts=0"}, false);
  expect_replay_fails({"--generate", "cv=nan"}, bad_input, {"cv=nan"}, false);
  expect_replay_fails({"--generate", "nonsense"}, bad_input, {"nonsense"}, false);
  const arguments uneven = {"--policy", "deepseek-hierarchical", "--groups",
                            "3",        "--ranks-per-node",      "1"};
  expect_replay_fails(uneven, bad_input, {"deepseek-hierarchical", "groups", "3"});
  expect_plan_fails({"--policy", "deepseek-hierarchical", "--groups", "3", "--ranks-per-node", "1",
                     "--slots-per-rank", "5"},
                    bad_input, {"groups", "3"});
}

TEST_F(cli_bad_input, loads_of_another_model) {
  expect_replay_fails({"--model", "deepseek-v3"}, bad_input, {"deepseek-v3", "256", "8", trace_});
  expect_plan_fails({"--model", "deepseek-v3", "--slots-per-rank", "5"}, bad_input,
                    {"deepseek-v3", "256", "8"});
  expect_replay_fails({"--model", "no-such-model"}, bad_input, {"no-such-model"});
  expect_plan_fails({"--model", "no-such-model", "--slots-per-rank", "5"}, bad_input,
                    {"no-such-model"});
}

TEST_F(cli_bad_input, placements_that_do_not_fit) {
  const std::string one = "65536, 65536, 65536, 65536, 65536, 65536, 65536, 65536, 0, 0";
  const std::string four_ranks =
      placement("0, 1, 2, 3, 4, 5, 6, 7, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1",
                one + ", 0, 0, 0, 0, 0, 0, 0, 0, 0, 0", 4);
  expect_replay_fails({"--placement", four_ranks, "--slots-per-rank", "5"}, bad_input,
                      {four_ranks, "ranks", "4", "2"});
  expect_plan_fails({"--current", four_ranks, "--slots-per-rank", "5"}, bad_input,
                    {four_ranks, "ranks", "4", "2"});

  const auto both_fail = [&](const std::string& file, const arguments& parts) {
    expect_replay_fails({"--placement", file, "--slots-per-rank", "5"}, bad_input, parts);
    expect_plan_fails({"--current", file, "--slots-per-rank", "5"}, bad_input, parts);
  };
  both_fail(placement("0, 1, 2, 3, 4, 5, 6, -1, -1, -1",
                      "65536, 65536, 65536, 65536, 65536, 65536, 65536, 0, 0, 0"),
            {"expert 7"});
  both_fail(placement("0, 1, 2, 3, 4, 5, 6, 8, -1, -1", one), {"[0][7]", "8"});
  both_fail(placement("0, 1, 2, 3, 4, 5, 6, 7, -1, -1",
                      "65536, 65536, 65536, 65535, 65536, 65536, 65536, 65536, 0, 0"),
            {"expert 3", "65535"});
  both_fail(placement("0, 1, 2, 3, 4, 5, 6, 7, -1", one), {"9", "10"});
  both_fail(placement("0, 1, 2, 3, 4, 5, 6, 7, 1.5, -1", one), {"1.5"});
  both_fail(placement("0, 1, 2, 3, 4, 5, 6, 7, -1, -1",
                      "65536, 65536, 65536, 65536, 65536, 65536, 65536, 65536, -3, 0"),
            {"-3"});
  both_fail(folder_.write("cut.json", R"({"schema": "ballast.placement/1", "layers": 1)"),
            {"cut.json"});
  both_fail(folder_.write("schema.json", R"({"schema": "ballast.placement/9"})"),
            {"schema.json", "schema"});
  expect_replay_fails(
      {"--placement", placement("0, 1, 2, 3, 4, 5, 6, 7, -1, -1", one), "--slots-per-rank", "6"},
      bad_input, {"slots_per_rank", "5", "6"});
}

TEST_F(cli_bad_input, options_and_their_values) {
  expect_replay_fails({"--no-such-option"}, usage, {"--no-such-option"});
  expect_plan_fails({"--no-such-option", "--slots-per-rank", "5"}, usage, {"--no-such-option"});
  expect_replay_fails({"--policy", "no-such-policy"}, usage, {"no-such-policy"});
  expect_plan_fails({"--policy", "no-such-policy", "--slots-per-rank", "5"}, usage,
                    {"no-such-policy"});
  expect_replay_fails({"--generate", "steps=3"}, usage, {"--trace", "--generate"});
  expect_replay_fails({}, usage, {"--trace", "--generate"}, false);
  expect_plan_fails({"--slots-per-rank", "5"}, usage, {"--loads", "--generate"}, false);
  for (const char* option : {"--interval", "--window", "--steps", "--planner-threads",
                             "--consensus-lag", "--staging-experts"}) {
    expect_replay_fails({option, "0"}, usage, {option, "0"});
    expect_replay_fails({option, "many"}, usage, {option, "many"});
  }
  for (const char* option : {"--way", "--mode", "--verify", "--backend", "--transport"}) {
    expect_replay_fails({option, "odd"}, usage, {option, "odd"});
  }
  expect_replay_fails({"--deadline-seconds", "nan"}, bad_input, {"deadline_seconds is nan"});
  expect_replay_fails({"--deadline-seconds", "0"}, usage, {"--deadline-seconds", "0"});
  for (const char* option : {"--balance-min", "--gain-min"}) {
    expect_replay_fails({option, "1.5"}, usage, {option, "1.5"});
    expect_replay_fails({option, "nan"}, usage, {option, "nan"});
  }
  expect_replay_fails({"--nccl-ctas", "65"}, usage, {"--nccl-ctas", "65"});
  expect_replay_fails({"--hash-ctas", "1025"}, usage, {"--hash-ctas", "1025"});
  expect_replay_fails({"--backend", "host", "--transport", "nccl"}, bad_input,
                      {"--transport nccl", "host"});
  expect_replay_fails({"--transport", "local"}, bad_input, {"--transport local", "2 ranks"});
  expect_replay_fails({"--drill", "nonsense"}, bad_input, {"drill", "nonsense"});
  expect_replay_fails({"--drill", "digest:5:0"}, bad_input, {"drill", "5"});
  const ending nothing = run(arguments{});
  EXPECT_EQ(nothing.code, usage) << nothing.text();
  const ending unknown = run({"no-such-command"});
  EXPECT_EQ(unknown.code, usage) << unknown.text();
}

TEST_F(cli_bad_input, gpus_that_are_not_there) {
  const char* visible = std::getenv("CUDA_VISIBLE_DEVICES");
  const std::string before = visible == nullptr ? "" : visible;
  setenv("CUDA_VISIBLE_DEVICES", "", 1);  // so on a machine with GPUs too
  expect_replay_fails({"--backend", "cuda"}, system_error, {"--backend cuda", "no "});
  expect_replay_fails({"--backend", "cuda", "--ffn", "--transport", "copy"}, system_error,
                      {"--backend cuda", "no "});
  if (visible == nullptr) {
    unsetenv("CUDA_VISIBLE_DEVICES");
  } else {
    setenv("CUDA_VISIBLE_DEVICES", before.c_str(), 1);
  }
}

TEST_F(cli_bad_input, what_is_asked_of_several_plans) {
  expect_plan_fails({"--slots-per-rank", "5,6", "--out", folder_.path("p.json")}, usage,
                    {"--out", "2"});
  expect_plan_fails({"--slots-per-rank", "5,6", "--curve"}, usage, {"--curve", "2"});
  expect_plan_fails({"--slots-per-rank", "5,6", "--explain"}, usage, {"--explain", "2"});
  expect_plan_fails({"--slots-per-rank", "5", "--explain", "--curve", "--expert-bytes", "7"}, usage,
                    {"--explain", "several"});
  expect_plan_fails({"--slots-per-rank", "5", "--curve"}, usage, {"--curve", "--expert-bytes"});
  expect_plan_fails({"--slots-per-rank", "5", "--curve", "--max-moves", "3"}, usage,
                    {"--curve", "--max-moves"});
  expect_plan_fails({"--slots-per-rank", "5", "--max-bytes", "7"}, usage,
                    {"--max-bytes", "--expert-bytes"});
  expect_plan_fails({"--slots-per-rank", "5", "--max-moves", "-2"}, usage, {"--max-moves", "-2"});
  expect_plan_fails({"--slots-per-rank", "5,six"}, usage, {"--slots-per-rank", "six"});
  expect_plan_fails({"--slots-per-rank", "2,3"}, bad_input, {"slots_per_rank 2", "8 experts"});
  arguments many = {"--slots-per-rank", "5", "--max-moves", "0"};
  for (int i = 1; i <= 4096; ++i) many.back().append(",").append(std::to_string(i));
  expect_plan_fails(many, usage, {"4096"});
}

TEST_F(cli_bad_input, results_that_cannot_be_written) {
  const std::string nowhere = folder_.path("missing/report.json");
  expect_replay_fails({"--json", nowhere}, system_error, {nowhere});
  expect_replay_fails({"--state", nowhere}, system_error, {nowhere});
  expect_plan_fails({"--json", nowhere, "--slots-per-rank", "5"}, system_error, {nowhere});
  expect_plan_fails({"--out", nowhere, "--slots-per-rank", "5"}, system_error, {nowhere});
}

// What the launcher tells a script, without the helper that keeps each rank's code.
TEST_F(cli_bad_input, the_launcher_passes_the_code_on) {
  const std::string command = std::string(BALLAST_MPIEXEC) + " " + BALLAST_MPIEXEC_NUMPROC_FLAG +
                              " 2 " + BALLAST_CLI + " replay --trace " +
                              folder_.path("missing.json") + " > " + folder_.path("log") + " 2>&1";
  const int status = std::system(command.c_str());
  EXPECT_EQ(WEXITSTATUS(status), bad_input);
}

}  // namespace
}  // namespace ballast
