#pragma once
// What a benchmark prints and writes: `#` lines with the version, every parameter and every rank,
// two header rows (names and units), one row per case that ends in #wrong; and the same data as
// JSON.

#include <cstdint>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <variant>
#include <vector>

#include "jobs/command_line.hpp"
#include "jobs/mpi_session.hpp"

namespace ballast {

/// The options --json and --quiet of every benchmark.
struct bench_output {
  std::string json;
  bool quiet = false;
};

struct bench_column {
  std::string name;
  std::string unit;     ///< "" if it has none
  std::string key;      ///< in JSON; ends in the unit
  int width = 8;        ///< in characters, at least; right-aligned
  int digits = 3;       ///< after the point, of real numbers
  bool printed = true;  ///< otherwise in JSON only
};

using bench_cell = std::variant<std::string, std::int64_t, double>;

class bench_table {
 public:
  /// `speaks`: false on every rank but 0. The column #wrong is added.
  bench_table(const std::string& bench, bench_output output, bool speaks,
              std::vector<bench_column> columns);
  ~bench_table();

  void parameter(const std::string& name, const std::string& value);
  void parameter(const std::string& name, std::int32_t value);
  void parameter(const std::string& name, std::int64_t value);
  void parameter(const std::string& name, std::uint64_t value);
  /// Collective. One `#` line per rank: node, island, NUMA node, GPU, host.
  void ranks(const mpi_session& mpi);
  /// A `#` line; in JSON one of "notes".
  void note(const std::string& text);
  /// `cells` as the columns; `wrong`: how much of what the row timed was wrong.
  void add(const std::vector<bench_cell>& cells, std::int64_t wrong);

  /// Writes the JSON document; to be called once all rows are there. Returns `internal` if any row
  /// was wrong.
  exit_code finish();

 private:
  void add_parameter(const std::string& name, const nlohmann::ordered_json& value);
  void print(const std::string& line) const;
  void print_header();

  bench_output output_;
  bool speaks_;
  std::vector<bench_column> columns_;
  bool header_printed_ = false;
  std::int64_t wrong_ = 0;
  std::unique_ptr<nlohmann::ordered_json> document_;
};

/// Adds --json and --quiet to a subcommand.
void add_output_options(command& command, bench_output& output);

}  // namespace ballast
