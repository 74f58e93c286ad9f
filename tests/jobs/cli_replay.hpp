#pragma once
// What the tests of `ballast replay` share: a short replay, and the schema of its report.

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <string>

#include "tests/jobs/cli_process.hpp"
#include "tests/jobs/loads_files.hpp"

namespace ballast {

/// 3 layers of 24 experts, 2000 steps, an epoch every 100.
extern const arguments small_replay;
/// One epoch that is planned only, with 1900 steps to plan in: a busy machine needs many.
extern const arguments one_recorded_epoch;

nlohmann::json read_json(const std::string& path);

/// The schema, and that the parts agree with each other.
void expect_report(const nlohmann::json& report, int ranks);

class cli_replay : public testing::Test {
 protected:
  /// Runs it to its end without a complaint; returns its report, checked.
  nlohmann::json replay(int ranks, const arguments& args);

  temporary_folder folder_;
};

}  // namespace ballast
