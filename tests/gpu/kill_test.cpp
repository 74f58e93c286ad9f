// A peer that dies in the middle of pulls: the survivor's call returns DEADLINE in time, and its
// GPU goes on working. To be run by an MPI that lets the survivor live:
//   mpirun --enable-recovery -np 2 kill_test
// Rank 1 kills itself while rank 0 pulls from it; rank 0 prints the verdict.
#include <cuda_runtime_api.h>
#include <mpi.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdio>
#include <vector>

#include "runtime/ballast.h"

namespace {

constexpr double deadline_seconds = 3;
constexpr std::size_t row_bytes = std::size_t{64} << 20;
constexpr int rows = 8;

[[noreturn]] void end(const char* text, int code) {
  std::printf("%s\n", text);
  std::fflush(stdout);
  _exit(code);  // MPI_Finalize would wait for the dead
}

void check(ballast_status status) {
  if (status != BALLAST_OK) end(ballast_last_error(), 70);
}

bool gpu_works() {
  void* memory = nullptr;
  if (cudaMalloc(&memory, row_bytes) != cudaSuccess) return false;
  std::vector<char> back(row_bytes);
  return cudaMemset(memory, 0x5a, row_bytes) == cudaSuccess &&
         cudaMemcpy(back.data(), memory, row_bytes, cudaMemcpyDeviceToHost) == cudaSuccess &&
         back.front() == 0x5a && back.back() == 0x5a && cudaDeviceSynchronize() == cudaSuccess;
}

}  // namespace

int main(int argc, char** argv) {
  MPI_Init(&argc, &argv);
  int rank = 0;
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  std::int32_t devices = 0;
  ballast_device_count(&devices);
  if (devices == 0) {
    if (rank == 0) std::printf("all tests are skipped: no GPU\n");
    MPI_Finalize();
    return 0;
  }
  cudaSetDevice(rank % devices);
  ballast_config config;
  ballast_config_init(&config);
  config.layers = 4;
  config.experts = 14;
  config.slots_per_rank = rows;
  config.interval = 4;
  config.policy = "deepseek";
  config.gain_min_permille = 0;
  config.deadline_seconds = deadline_seconds;
  config.backend = BALLAST_BACKEND_CUDA;
  config.bytes_per_step = -1;
  config.verify = BALLAST_VERIFY_OFF;
  ballast_context* context = nullptr;
  check(ballast_create(&config, MPI_COMM_WORLD, &context));
  for (int layer = 0; layer < config.layers; ++layer) {
    ballast_tensor tensor = {nullptr, row_bytes, row_bytes};
    check(ballast_alloc(context, rows * row_bytes, &tensor.base));
    cudaMemset(tensor.base, layer, rows * row_bytes);
    check(ballast_register_layer(context, layer, &tensor, 1));
  }
  cudaDeviceSynchronize();
  check(ballast_start(context));
  std::int64_t* loads = nullptr;  // on the device, of a different expert the most in every epoch
  cudaMalloc(reinterpret_cast<void**>(&loads), config.experts * sizeof(std::int64_t));
  bool seen = false;
  std::int64_t pass = 0;
  auto last_good = std::chrono::steady_clock::now();
  for (;;) {
    std::vector<std::int64_t> counts(config.experts, 10);
    counts[pass++ / config.interval * 5 % config.experts] = 1000;
    cudaMemcpy(loads, counts.data(), counts.size() * sizeof(counts[0]), cudaMemcpyHostToDevice);
    for (int layer = 0; layer < config.layers; ++layer)
      check(ballast_record_counts(context, layer, loads));
    ballast_step_result result = {};
    result.struct_size = sizeof(result);
    const ballast_status status = ballast_step(context, &result);
    const auto now = std::chrono::steady_clock::now();
    if (status != BALLAST_OK) {
      const double seconds = std::chrono::duration<double>(now - last_good).count();
      std::printf("rank %d: %s after %.1f s: %s\n", rank, ballast_status_name(status), seconds,
                  ballast_last_error());
      const bool in_time = status == BALLAST_ERROR_DEADLINE && seconds < deadline_seconds + 3;
      end(in_time && gpu_works() ? "kill_test: ok" : "kill_test: FAILED", in_time ? 0 : 1);
    }
    last_good = now;
    if (result.phase == BALLAST_PHASE_EXCHANGE && seen && rank == 1) raise(SIGKILL);
    seen = result.phase == BALLAST_PHASE_EXCHANGE;
  }
}
