#pragma once
// The subcommands of `ballast bench`. Each times one part of Ballast through its public interface,
// checks in the same run that what it timed was right, and times a plain way of doing the same
// beside it.

#include "jobs/command.hpp"

namespace ballast {

void add_plan_bench(command& bench, command_body& run);
void add_step_bench(command& bench, command_body& run);
void add_exchange_bench(command& bench, command_body& run);
void add_record_bench(command& bench, command_body& run);
void add_route_bench(command& bench, command_body& run);
void add_overlap_bench(command& bench, command_body& run);
void add_reduce_bench(command& bench, command_body& run);

}  // namespace ballast
