#pragma once
// The subcommands of `ballast`. Each adds its options to the program and sets `run`, which main
// calls after parsing.

#include <cstdint>
#include <functional>
#include <string>

#include "jobs/command_line.hpp"
#include "jobs/exit_code.hpp"

namespace ballast {

/// What the chosen subcommand does; returns the exit code of the process.
using command_body = std::function<int()>;

/// Checks of 64-bit counts.
value_check at_least_one();
value_check at_least_zero();
value_check at_least_minus_one();

/// For --max-moves.
option* take_move_limits(option* max_moves);

/// A 64-bit number, whole.
value_check any_seed();

/// --objective, for objective_of.
void add_objective_option(command& command, std::string& objective);
void add_equal_shares_option(command& command, bool& equal_shares);
void add_cold_start_option(command& command, bool& cold_start);
option* add_token_ns_option(command& command, std::int64_t& token_ns);
option* add_horizon_option(command& command, std::int64_t& horizon);

void add_replay_command(command& program, command_body& run);
void add_plan_command(command& program, command_body& run);
void add_topo_command(command& program, command_body& run);
void add_bench_command(command& program, command_body& run);

}  // namespace ballast
