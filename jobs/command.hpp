#pragma once
// The subcommands of `ballast`. Each adds its options to the program and sets `run`, which main
// calls after parsing.

#include <CLI/CLI.hpp>
#include <charconv>
#include <cstdint>
#include <functional>
#include <string>

#include "jobs/exit_code.hpp"
#include "jobs/move_limit.hpp"

namespace ballast {

/// What the chosen subcommand does; returns the exit code of the process.
using command_body = std::function<int()>;

/// Checks of 64-bit counts.
inline CLI::Range at_least_one() { return CLI::Range(std::int64_t{1}, std::int64_t{1} << 62); }
inline CLI::Range at_least_zero() { return CLI::Range(std::int64_t{0}, std::int64_t{1} << 62); }
inline CLI::Range at_least_minus_one() {
  return CLI::Range(std::int64_t{-1}, std::int64_t{1} << 62);
}

/// For --max-moves.
inline CLI::Option* take_move_limits(CLI::Option* option) {
  const auto why_wrong = [](const std::string& text) {
    move_limit limit;
    return read_move_limit(text, limit);
  };
  return option->check(CLI::Validator(why_wrong, ""))->type_name("N|P%")->default_str("any");
}

/// A 64-bit number, whole: CLI11 takes what is larger for the largest.
inline CLI::Validator any_seed() {
  return CLI::Validator(
      [](const std::string& text) -> std::string {
        std::uint64_t value = 0;
        const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), value);
        return code == std::errc() && end == text.data() + text.size()
                   ? ""
                   : "Value " + text + " not in range 0 to 18446744073709551615";
      },
      "UINT");
}

/// --objective, for objective_of.
inline void add_objective_option(CLI::App& command, std::string& objective) {
  command
      .add_option("--objective", objective,
                  "What is evened out: tokens computed, or (for decoding bound by memory) "
                  "activations, the experts read in a pass")
      ->check(CLI::IsMember({"tokens", "activations"}))
      ->capture_default_str();
}

inline void add_equal_shares_option(CLI::App& command, bool& equal_shares) {
  command.add_flag("--equal-shares", equal_shares,
                   "Policy flow splits tokens equally over an expert's replicas, as the others do");
}

inline void add_cold_start_option(CLI::App& command, bool& cold_start) {
  command.add_flag("--cold-start", cold_start,
                   "No weights are in place yet: policy flow makes every move that gains anything");
}

inline CLI::Option* add_token_ns_option(CLI::App& command, std::int64_t& token_ns) {
  return command
      .add_option("--token-ns", token_ns,
                  "Nanoseconds that one more token on the fullest rank of a layer costs a step")
      ->check(CLI::Range(std::int64_t{1}, std::int64_t{1'000'000'000}));
}

inline CLI::Option* add_horizon_option(CLI::App& command, std::int64_t& horizon) {
  return command
      .add_option("--horizon", horizon,
                  "Steps in which moves must have paid off; else shares alone are planned anew")
      ->check(at_least_one());
}

void add_replay_command(CLI::App& program, command_body& run);
void add_plan_command(CLI::App& program, command_body& run);
void add_topo_command(CLI::App& program, command_body& run);
void add_bench_command(CLI::App& program, command_body& run);

}  // namespace ballast
