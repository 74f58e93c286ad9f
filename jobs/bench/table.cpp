#include "jobs/bench/table.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>
#include <utility>

#include "jobs/output.hpp"

namespace ballast {
namespace {

std::string to_text(const bench_cell& cell, int digits) {
  if (const auto* text = std::get_if<std::string>(&cell)) return *text;
  if (const auto* whole = std::get_if<std::int64_t>(&cell)) return std::to_string(*whole);
  return fmt::format("{:.{}f}", std::get<double>(cell), digits);
}

std::string shown(const nlohmann::ordered_json& value) {
  return value.is_string() ? value.get<std::string>() : value.dump();
}

}  // namespace

bench_table::bench_table(const std::string& bench, bench_output output, bool speaks,
                         std::vector<bench_column> columns)
    : output_(std::move(output)),
      speaks_(speaks),
      columns_(std::move(columns)),
      document_(std::make_unique<nlohmann::ordered_json>(json_head("bench"))) {
  columns_.push_back({"#wrong", "", "wrong", 6, 0});
  for (bench_column& c : columns_) {
    c.width =
        std::max({c.width, static_cast<int>(c.name.size()), static_cast<int>(c.unit.size()) + 2});
  }
  (*document_)["bench"] = bench;
  (*document_)["parameters"] = nlohmann::ordered_json::object();
  (*document_)["rows"] = nlohmann::ordered_json::array();
  print(fmt::format("# ballast {} bench {}", ballast_version(), bench));
}

bench_table::~bench_table() = default;

void bench_table::parameter(const std::string& name, const std::string& value) {
  add_parameter(name, value);
}
void bench_table::parameter(const std::string& name, std::int32_t value) {
  add_parameter(name, value);
}
void bench_table::parameter(const std::string& name, std::int64_t value) {
  add_parameter(name, value);
}
void bench_table::parameter(const std::string& name, std::uint64_t value) {
  add_parameter(name, value);
}

void bench_table::add_parameter(const std::string& name, const nlohmann::ordered_json& value) {
  (*document_)["parameters"][name] = value;
  print(fmt::format("# {}: {}", name, shown(value)));
}

void bench_table::ranks(const mpi_session& mpi) {
  ballast_topology* made = nullptr;
  check(ballast_topology_create(mpi.comm(), "", 0, &made));
  const std::unique_ptr<ballast_topology, decltype(&ballast_topology_destroy)> topology(
      made, ballast_topology_destroy);
  auto& ranks = (*document_)["ranks"] = nlohmann::ordered_json::array();
  for (int rank = 0; rank < mpi.size(); ++rank) {
    ballast_rank_place p;
    p.struct_size = sizeof(p);
    check(ballast_topology_place(made, rank, &p));
    ranks.push_back({{"rank", rank},
                     {"node", p.node},
                     {"island", p.island},
                     {"numa", p.numa},
                     {"gpu", p.gpu},
                     {"host", p.host}});
    print(fmt::format("# rank {}: node {}, island {}, numa {}, gpu {}, host {}", rank, p.node,
                      p.island, p.numa, p.gpu, p.host));
  }
}

void bench_table::note(const std::string& text) {
  (*document_)["notes"].push_back(text);
  print("# " + text);
}

void bench_table::add(const std::vector<bench_cell>& cells, std::int64_t wrong) {
  wrong_ += wrong;
  print_header();
  std::vector<bench_cell> all = cells;
  all.emplace_back(wrong);
  nlohmann::ordered_json row;
  std::string line = "  ";
  for (std::size_t i = 0; i < all.size(); ++i) {
    const bench_column& c = columns_[i];
    if (c.printed) {
      line += fmt::format("{:>{}}{}", to_text(all[i], c.digits), c.width,
                          i + 1 < all.size() ? "  " : "");
    }
    std::visit([&](const auto& value) { row[c.key] = value; }, all[i]);
  }
  (*document_)["rows"].push_back(std::move(row));
  print(line);
}

exit_code bench_table::finish() {
  if (speaks_) write_json(*document_, output_.json);
  print(fmt::format("# wrong: {}", wrong_));
  if (wrong_ == 0) return exit_code::ok;
  if (speaks_) fmt::print(stderr, "ballast: bench: {} wrong\n", wrong_);
  return exit_code::internal;
}

void bench_table::print_header() {
  if (std::exchange(header_printed_, true)) return;
  std::string names;
  std::string units;
  for (const bench_column& c : columns_) {
    if (!c.printed) continue;
    names += fmt::format("{:>{}}  ", c.name, c.width);
    units += fmt::format("{:>{}}  ", c.unit.empty() ? "" : "(" + c.unit + ")", c.width);
  }
  for (std::string* line : {&names, &units}) {
    line->erase(line->find_last_not_of(' ') + 1);
    print("# " + *line);
  }
}

void bench_table::print(const std::string& line) const {
  if (!speaks_ || output_.quiet || output_.json == "-") return;
  std::fputs((line + "\n").c_str(), stdout);
  std::fflush(stdout);
}

void add_output_options(command& command, bench_output& output) {
  command.add_option("--json", output.json,
                     "Write the rows as JSON to this file, - for standard output");
  command.add_flag("--quiet", output.quiet, "No table");
}

}  // namespace ballast
