// A peer that dies in the middle of an exchange: the survivor's call returns DEADLINE in time, its
// ballast_destroy ends, and its GPU goes on working: by copy all the time, by NCCL, whose kernels
// wait for the dead, when the context is destroyed. To be run by an MPI that lets the survivor
// live:
//   mpirun --enable-recovery -np 2 kill_test copy|nccl
// Rank 1 kills itself while weights travel between the two; rank 0 prints the verdict.
#include <cuda_runtime_api.h>
#include <mpi.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstring>
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

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

[[noreturn]] void judge(int rank, ballast_context* context, ballast_status status, double seconds,
                        bool by_nccl) {
  std::printf("rank %d: %s after %.1f s: %s\n", rank, ballast_status_name(status), seconds,
              ballast_last_error());
  bool good = status == BALLAST_ERROR_DEADLINE && seconds < deadline_seconds + 3;
  if (!by_nccl) good = gpu_works() && good;
  const auto start = std::chrono::steady_clock::now();
  const ballast_status destroyed = ballast_destroy(context);
  const double took = seconds_since(start);
  std::printf("rank %d: ballast_destroy: %s after %.1f s: %s\n", rank,
              ballast_status_name(destroyed), took, ballast_last_error());
  good = took < deadline_seconds + 3 && gpu_works() && good;
  end(good ? "kill_test: ok" : "kill_test: FAILED", good ? 0 : 1);
}

}  // namespace

int main(int argc, char** argv) {
  const bool by_nccl = argc == 2 && std::strcmp(argv[1], "nccl") == 0;
  if (argc != 2 || (!by_nccl && std::strcmp(argv[1], "copy") != 0))
    end("usage: kill_test copy|nccl", 64);
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
  config.transport = by_nccl ? BALLAST_TRANSPORT_NCCL : BALLAST_TRANSPORT_COPY;
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
    if (status != BALLAST_OK) judge(rank, context, status, seconds_since(last_good), by_nccl);
    last_good = std::chrono::steady_clock::now();
    if (result.phase == BALLAST_PHASE_EXCHANGE && seen && rank == 1) raise(SIGKILL);
    seen = result.phase == BALLAST_PHASE_EXCHANGE;
  }
}
