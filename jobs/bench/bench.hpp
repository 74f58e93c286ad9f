#pragma once
// The subcommands of `ballast bench`. Each times one part of Ballast through its public interface,
// checks in the same run that what it timed was right, and times a plain way of doing the same
// beside it.

#include <CLI/CLI.hpp>

#include "jobs/command.hpp"

namespace ballast {

void add_plan_bench(CLI::App& bench, command_body& run);
void add_step_bench(CLI::App& bench, command_body& run);
void add_exchange_bench(CLI::App& bench, command_body& run);
void add_record_bench(CLI::App& bench, command_body& run);
void add_route_bench(CLI::App& bench, command_body& run);
void add_overlap_bench(CLI::App& bench, command_body& run);
void add_reduce_bench(CLI::App& bench, command_body& run);

}  // namespace ballast
