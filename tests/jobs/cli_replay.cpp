#include "tests/jobs/cli_replay.hpp"

#include <cstdint>
#include <fstream>
#include <utility>
#include <vector>

namespace ballast {
namespace {

using nlohmann::json;

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

}  // namespace

const arguments small_replay = {
    "replay",
    "--generate",
    "model=deepseek-v2-lite,layers=3,experts=24,top_k=2,steps=2000,tokens_per_step=256",
    "--interval",
    "100",
    "--expert-bytes",
    "1003"};
const arguments one_recorded_epoch = {
    "replay",
    "--generate",
    "model=deepseek-v2-lite,layers=3,experts=24,top_k=2,steps=3900,tokens_per_step=256",
    "--interval",
    "2000",
    "--expert-bytes",
    "1003",
    "--mode",
    "record"};

json read_json(const std::string& path) {
  std::ifstream stream(path);
  return json::parse(stream, nullptr, false);
}

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

json cli_replay::replay(int ranks, const arguments& args) {
  const std::string path = folder_.path("report.json");
  const ending end = run(ranks, with(args, {"--json", path}));
  EXPECT_FALSE(end.timed_out) << end.text();
  EXPECT_TRUE(end.everywhere(ranks, 0)) << end.text();
  EXPECT_TRUE(end.complaints().empty()) << end.text();
  const json report = read_json(path);
  expect_report(report, ranks);
  return report;
}

}  // namespace ballast
