#pragma once
// What the tests of `ballast plan` share.

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "tests/jobs/cli_process.hpp"

namespace ballast {

/// 9 layers of 64 experts on 8 ranks of 9 slots; the report on standard output.
inline const arguments one_plan = {
    "plan",    "--generate", "model=deepseek-v2-lite,layers=9,steps=20",
    "--ranks", "8",          "--slots-per-rank",
    "9",       "--json",     "-"};

/// The report of a run that must end well.
inline nlohmann::json plan(const arguments& args) {
  const ending end = run(args);
  EXPECT_EQ(end.code, 0) << end.text();
  EXPECT_EQ(end.err, "");
  return nlohmann::json::parse(end.out, nullptr, false);
}

}  // namespace ballast
