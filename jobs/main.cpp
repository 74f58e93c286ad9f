// The `ballast` program: embeds the library as any user would, through runtime/ballast.h only.
#include <fmt/format.h>

#include "jobs/command.hpp"
#include "jobs/mpi_session.hpp"

int main(int argc, char** argv) {
  CLI::App program(
      "Ballast keeps the experts of Mixture-of-Experts models evenly loaded while the model runs.",
      "ballast");
  program.set_version_flag("--version", std::string("ballast ") + ballast_version());
  program.require_subcommand(1);
  program.option_defaults()->always_capture_default();
  ballast::command_body run;
  ballast::add_replay_command(program, run);
  ballast::add_plan_command(program, run);
  ballast::add_topo_command(program, run);
  ballast::add_bench_command(program, run);
  try {
    program.parse(argc, argv);
    return run();
  } catch (const CLI::ParseError& e) {
    const bool is_help = e.get_exit_code() == 0;
    // Every rank parses alike; one line is enough.
    if (ballast::launcher_rank() == 0) {
      if (is_help) return program.exit(e);
      fmt::print(stderr, "ballast: {}\nTry --help.\n", e.what());
    }
    return is_help ? 0 : static_cast<int>(ballast::exit_code::usage);
  } catch (...) {
    const ballast::job_error failure = ballast::current_job_error();
    fmt::print(stderr, "ballast: {}\n", failure.what());
    return static_cast<int>(failure.code());
  }
}
