// The command lines of `ballast bench overlap` and `reduce`, which need GPUs.
#include <memory>

#include "jobs/bench/bench.hpp"
#include "jobs/bench/device_benches.hpp"

namespace ballast {
namespace {

// So that all benches on GPUs are called alike.
void add_backend_option(command& bench) {
  bench.add_option("--backend", "cuda")->check(one_of({"cuda"}));
}

}  // namespace

void add_overlap_bench(command& bench, command_body& run) {
  auto o = std::make_shared<overlap_bench_options>();
  command* overlap = bench.add_subcommand(
      "overlap", "What moving experts costs a model that computes, on GPUs; 2 ranks or more.");
  add_backend_option(*overlap);
  overlap->add_option("--model", o->model, "Whose experts move")->capture_default_str();
  overlap->add_option("--weights-mib", o->weights_mib, "Weights of a rank, beside the products")
      ->check(range(1, 1 << 20))
      ->capture_default_str();
  overlap
      ->add_option("--read-weights-mib", o->read_weights_mib, "Weights of a rank, beside the reads")
      ->check(range(1, 1 << 20))
      ->capture_default_str();
  overlap->add_option("--experts", o->experts, "Experts per layer, even")
      ->check(range(2, 4096))
      ->capture_default_str();
  overlap->add_option("--epochs", o->epochs, "Epochs that are timed, of each kind")
      ->check(range(1, 1000))
      ->capture_default_str();
  overlap->add_option("--iterations", o->iterations, "Iterations before and after each epoch")
      ->check(range(1, 100000))
      ->capture_default_str();
  overlap->add_option("--matrix", o->matrix, "Rows and columns of the bf16 matrices multiplied")
      ->check(range(256, 32768))
      ->capture_default_str();
  overlap->add_option("--read-mib", o->read_mib, "Memory read per step")
      ->check(range(1, 65536))
      ->capture_default_str();
  overlap->add_option("--hash-ctas", o->hash_ctas, "CTAs that check what arrives")
      ->check(range(1, 1024))
      ->capture_default_str();
  overlap
      ->add_option("--receives-per-batch", o->receives_per_batch,
                   "As in ballast_config, beside the products")
      ->check(range(1, 4096))
      ->capture_default_str();
  add_output_options(*overlap, o->output);
  overlap->footer(
      "#wrong counts wrong words of 8 bytes in what arrived and epochs that did not commit.\n"
      "Example:\n  mpirun -np 2 ballast bench overlap --backend cuda --json overlap.json");
  overlap->callback([&run, o] {
    run = [o] {
      return run_mpi_job([&](const mpi_session& mpi) {
        if (mpi.size() < 2)
          throw job_error(
              exit_code::usage,
              "bench overlap needs 2 ranks or more: mpirun -np 2 ballast bench overlap");
        return run_overlap_bench(mpi, *o);
      });
    };
  });
}

void add_reduce_bench(command& bench, command_body& run) {
  auto o = std::make_shared<reduce_bench_options>();
  command* reduce = bench.add_subcommand(
      "reduce", "Time to sum the loads of a window over all ranks, by MPI and by NCCL, on GPUs.");
  add_backend_option(*reduce);
  reduce->add_option("--layers", o->layers, "Layers")->check(range(1, 4096))->capture_default_str();
  reduce->add_option("--experts", o->experts, "Experts per layer")
      ->check(range(1, 65536))
      ->capture_default_str();
  reduce->add_option("--repetitions", o->repetitions, "Reductions that are timed, of each kind")
      ->check(range(1, 1000000))
      ->capture_default_str();
  add_output_options(*reduce, o->output);
  reduce->footer(
      "#wrong counts sums that are not what they must be.\n"
      "Example:\n  mpirun -np 2 ballast bench reduce --backend cuda");
  reduce->callback([&run, o] {
    run = [o] {
      return run_mpi_job([&](const mpi_session& mpi) { return run_reduce_bench(mpi, *o); });
    };
  });
}

}  // namespace ballast
