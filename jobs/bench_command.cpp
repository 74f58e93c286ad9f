// `ballast bench`: tables in the manner of nccl-tests, one subcommand per part.
#include "jobs/bench/bench.hpp"

namespace ballast {

void add_bench_command(command& program, command_body& run) {
  command* bench = program.add_subcommand(
      "bench", "Time the parts of Ballast, and check what they did in the same run.");
  bench->require_subcommand();
  add_plan_bench(*bench, run);
  add_step_bench(*bench, run);
  add_exchange_bench(*bench, run);
  add_record_bench(*bench, run);
  add_route_bench(*bench, run);
  add_overlap_bench(*bench, run);
  add_reduce_bench(*bench, run);
  bench->footer(
      "Examples:\n  ballast bench plan --shapes dsv3_ep32_288_glob\n  mpirun -np 2 ballast bench "
      "exchange --json exchange.json");
}

}  // namespace ballast
