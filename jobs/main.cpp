// The `ballast` program: embeds the library as any user would, through runtime/ballast.h only.
#include <fmt/format.h>

#include <optional>

#include "jobs/command.hpp"
#include "jobs/mpi_session.hpp"

int main(int argc, char** argv) {
  ballast::program program(
      "ballast",
      "Ballast keeps the experts of Mixture-of-Experts models evenly loaded while the model runs.",
      std::string("ballast ") + ballast_version());
  program.top().require_subcommand();
  ballast::command_body run;
  ballast::add_replay_command(program.top(), run);
  ballast::add_plan_command(program.top(), run);
  ballast::add_topo_command(program.top(), run);
  ballast::add_bench_command(program.top(), run);
  try {
    if (const std::optional<int> code = program.parse(argc, argv)) return *code;
    return run();
  } catch (...) {
    const ballast::job_error failure = ballast::current_job_error();
    fmt::print(stderr, "ballast: {}\n", failure.what());
    return static_cast<int>(failure.code());
  }
}
