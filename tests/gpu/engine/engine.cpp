// An engine that embeds Ballast: a small MoE model whose forward pass is one captured CUDA graph,
// with dispatch and combine all-to-all on its own NCCL communicator, replayed thousands of times
// while Ballast rebalances every few steps. Every output of every pass is compared with what the
// chosen experts give. It ends with the distribution of step times with and without an epoch in
// flight.
//
//   mpirun -np 2 moe_engine [--steps N] [--interval N] [--transport auto|copy|nccl] [--gemm N]
//                           [--payload-mib N] [--bytes-per-step N]
//
// --gemm N: also N products of 8192 x 8192 bf16 matrices a pass, which fill all multiprocessors and
// draw power: they are random, zeros would not.
// --payload-mib N: an expert has so many MiB more to move.
#include <cublas_v2.h>
#include <cuda_bf16.h>
#include <cuda_runtime.h>
#include <mpi.h>
#include <nccl.h>

#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "runtime/ballast.h"
#include "tests/gpu/engine/moe_kernels.hpp"
#include "tests/gpu/engine/step_times.hpp"

namespace {

[[noreturn]] void fail(const char* what, const char* why) {
  std::fprintf(stderr, "moe_engine: %s: %s\n", what, why);
  MPI_Abort(MPI_COMM_WORLD, 70);
  std::abort();
}
#define CUDA(call)                                                  \
  do {                                                              \
    const cudaError_t code = (call);                                \
    if (code != cudaSuccess) fail(#call, cudaGetErrorString(code)); \
  } while (false)
#define NCCL(call)                                                  \
  do {                                                              \
    const ncclResult_t code = (call);                               \
    if (code != ncclSuccess) fail(#call, ncclGetErrorString(code)); \
  } while (false)
#define BALLAST(call)                                            \
  do {                                                           \
    if ((call) != BALLAST_OK) fail(#call, ballast_last_error()); \
  } while (false)

struct options {
  int steps = 3000;
  int interval = 50;
  int transport = BALLAST_TRANSPORT_AUTO;
  int gemms = 0;
  long payload_mib = 0;
  long bytes_per_step = 0;
};

options read_options(int argc, char** argv) {
  options o;
  for (int i = 1; i + 1 < argc; i += 2) {
    const std::string name = argv[i];
    const std::string value = argv[i + 1];
    if (name == "--steps") {
      o.steps = std::stoi(value);
    } else if (name == "--interval") {
      o.interval = std::stoi(value);
    } else if (name == "--gemm") {
      o.gemms = std::stoi(value);
    } else if (name == "--payload-mib") {
      o.payload_mib = std::stol(value);
    } else if (name == "--bytes-per-step") {
      o.bytes_per_step = std::stol(value);
    } else if (name == "--transport") {
      o.transport = value == "copy"   ? BALLAST_TRANSPORT_COPY
                    : value == "nccl" ? BALLAST_TRANSPORT_NCCL
                                      : BALLAST_TRANSPORT_AUTO;
    } else {
      fail("unknown option", argv[i]);
    }
  }
  return o;
}

constexpr int layers = 4;
constexpr int experts = 32;
constexpr int tokens = 256;
constexpr int columns = 2;
constexpr int hidden = 64;
constexpr int gemm_size = 8192;
constexpr int warm_up_steps = 20;  // not in the report

template <typename T>
T* device_array(std::size_t count) {
  void* memory = nullptr;
  CUDA(cudaMalloc(&memory, count * sizeof(T)));
  CUDA(cudaMemset(memory, 0, count * sizeof(T)));
  CUDA(cudaStreamSynchronize(nullptr));  // the engine's stream does not wait for the memset's
  return static_cast<T*>(memory);
}

class engine {
 public:
  engine(const options& o, int rank, int ranks) : options_(o), rank_(rank), ranks_(ranks) {
    CUDA(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking));
    ncclUniqueId id = {};
    if (rank == 0) NCCL(ncclGetUniqueId(&id));
    MPI_Bcast(&id, sizeof(id), MPI_BYTE, 0, MPI_COMM_WORLD);
    NCCL(ncclCommInitRank(&nccl_, ranks, id, rank));
    slots_per_rank_ = (experts + ranks - 1) / ranks + 2;
    row_bytes_ = hidden * hidden + (o.payload_mib << 20);
    create_context();
    states_ = device_array<std::int32_t>(tokens * hidden);
    before_ = device_array<std::int32_t>(tokens * hidden);
    ids_ = device_array<std::int32_t>(tokens * columns);
    slots_ = device_array<std::int32_t>(tokens * columns);
    all_states_ = device_array<std::int32_t>(static_cast<std::size_t>(ranks) * tokens * hidden);
    all_slots_ = device_array<std::int32_t>(static_cast<std::size_t>(ranks) * tokens * columns);
    partial_ = device_array<std::int32_t>(static_cast<std::size_t>(ranks) * tokens * hidden);
    arrived_ = device_array<std::int32_t>(static_cast<std::size_t>(ranks) * tokens * hidden);
    wrong_ = device_array<unsigned long long>(1);
    passes_ = device_array<std::int64_t>(1);
    if (o.gemms > 0) prepare_gemm();
    capture();
  }

  void run() {
    std::vector<cudaEvent_t> events(options_.steps + 1);
    for (cudaEvent_t& e : events) CUDA(cudaEventCreate(&e));
    std::vector<int> kinds(options_.steps);
    CUDA(cudaEventRecord(events[0], stream_));
    for (int step = 0; step < options_.steps; ++step) {
      CUDA(cudaGraphLaunch(graph_, stream_));
      ballast_step_result result = {};
      result.struct_size = sizeof(result);
      BALLAST(ballast_step(context_, &result));
      const bool in_flight = result.phase != BALLAST_PHASE_IDLE || result.epoch_closed != 0;
      kinds[step] = result.tables_changed != 0 ? moe::tables_changed
                    : in_flight                ? moe::epoch_in_flight
                                               : moe::idle;
      CUDA(cudaEventRecord(events[step + 1], stream_));
      // An engine runs a few passes ahead of its GPU, not thousands.
      if (step >= 4) CUDA(cudaEventSynchronize(events[step - 4]));
    }
    CUDA(cudaStreamSynchronize(stream_));
    report(events, kinds);
  }

  ~engine() {
    CUDA(cudaGraphExecDestroy(graph_));
    BALLAST(ballast_destroy(context_));
    ncclCommDestroy(nccl_);
  }

  bool good() const { return wrong_here_ == 0 && committed_ > 0; }

 private:
  moe::shape shape(int layer) const {
    return {tokens, columns, hidden, experts, ranks_, slots_per_rank_, rank_, layer};
  }

  void create_context() {
    ballast_config config;
    ballast_config_init(&config);
    config.layers = layers;
    config.experts = experts;
    config.slots_per_rank = slots_per_rank_;
    config.interval = options_.interval;
    config.gain_min_permille = 0;
    config.policy = "deepseek";  // moves much
    config.backend = BALLAST_BACKEND_CUDA;
    config.transport = options_.transport;
    config.bytes_per_step = options_.bytes_per_step;
    config.stream = stream_;
    BALLAST(ballast_create(&config, MPI_COMM_WORLD, &context_));
    for (int layer = 0; layer < layers; ++layer) {
      void* memory = nullptr;
      BALLAST(ballast_alloc(context_, row_bytes_ * slots_per_rank_, &memory));
      rows_.push_back(static_cast<std::int8_t*>(memory));
      ballast_layer_tables tables = {};
      tables.struct_size = sizeof(tables);
      BALLAST(ballast_tables(context_, layer, &tables));
      for (int row = 0; row < slots_per_rank_; ++row) {
        const int expert = tables.expert_of_slot[rank_ * slots_per_rank_ + row];
        if (expert >= 0)
          moe::fill_row(rows_[layer] + row * row_bytes_, row_bytes_, shape(layer), expert, stream_);
      }
      const ballast_tensor tensor = {memory, static_cast<std::size_t>(row_bytes_),
                                     static_cast<std::size_t>(row_bytes_)};
      BALLAST(ballast_register_layer(context_, layer, &tensor, 1));
    }
    CUDA(cudaStreamSynchronize(stream_));
    BALLAST(ballast_start(context_));
  }

  void prepare_gemm() {
    if (cublasCreate(&blas_) != CUBLAS_STATUS_SUCCESS) fail("cublasCreate", "failed");
    cublasSetStream(blas_, stream_);
    void* workspace = device_array<char>(std::size_t{64} << 20);
    cublasSetWorkspace(blas_, workspace, std::size_t{64} << 20);
    constexpr std::int64_t count = std::int64_t{gemm_size} * gemm_size;
    for (__nv_bfloat16*& m : matrices_) m = device_array<__nv_bfloat16>(count);
    for (int i : {0, 1}) moe::fill_matrix(matrices_[i], count, i, stream_);
    CUDA(cudaGetLastError());
  }

  void gemm() {
    const float one = 1;
    const float zero = 0;
    if (cublasGemmEx(blas_, CUBLAS_OP_N, CUBLAS_OP_N, gemm_size, gemm_size, gemm_size, &one,
                     matrices_[0], CUDA_R_16BF, gemm_size, matrices_[1], CUDA_R_16BF, gemm_size,
                     &zero, matrices_[2], CUDA_R_16BF, gemm_size, CUBLAS_COMPUTE_32F,
                     CUBLAS_GEMM_DEFAULT) != CUBLAS_STATUS_SUCCESS)
      fail("cublasGemmEx", "failed");
  }

  void capture() {
    cudaGraph_t graph = nullptr;
    CUDA(cudaStreamBeginCapture(stream_, cudaStreamCaptureModeThreadLocal));
    moe::count_pass(passes_, stream_);
    for (int layer = 0; layer < layers; ++layer) pass_layer(layer);
    for (int i = 0; i < options_.gemms; ++i) gemm();
    CUDA(cudaStreamEndCapture(stream_, &graph));
    CUDA(cudaGraphInstantiate(&graph_, graph, 0));
    CUDA(cudaGraphDestroy(graph));
  }

  void pass_layer(int layer) {
    const moe::shape s = shape(layer);
    moe::choose(ids_, passes_, s, stream_);
    ballast_ids ids;
    ballast_ids_init(&ids);
    ids.ids = ids_;
    ids.columns = columns;
    ids.tokens = ids.valid_tokens = tokens;
    ids.stream = stream_;
    BALLAST(ballast_record_route(context_, layer, &ids, BALLAST_ROUTE_SHARES, slots_));
    CUDA(cudaMemcpyAsync(before_, states_, tokens * hidden * sizeof(std::int32_t),
                         cudaMemcpyDeviceToDevice, stream_));
    dispatch();
    moe::run_experts(partial_, all_states_, all_slots_, rows_[layer], row_bytes_, s, stream_);
    combine();
    moe::finish(states_, arrived_, before_, ids_, wrong_, s, stream_);
    CUDA(cudaGetLastError());
  }

  /// All-to-all: the states and slots of each rank's tokens to every rank.
  void dispatch() {
    NCCL(ncclGroupStart());
    for (int peer = 0; peer < ranks_; ++peer) {
      exchange(states_, all_states_ + peer * tokens * hidden, tokens * hidden, peer);
      exchange(slots_, all_slots_ + peer * tokens * columns, tokens * columns, peer);
    }
    NCCL(ncclGroupEnd());
  }

  /// All-to-all: what each rank's experts add to a rank's tokens to that rank, which sums them.
  void combine() {
    NCCL(ncclGroupStart());
    for (int peer = 0; peer < ranks_; ++peer) {
      const int first = peer * tokens * hidden;
      exchange(partial_ + first, arrived_ + first, tokens * hidden, peer);
    }
    NCCL(ncclGroupEnd());
  }

  /// Inside a group; with itself too.
  void exchange(const std::int32_t* to_peer, std::int32_t* from_peer, int count, int peer) {
    NCCL(ncclSend(to_peer, count, ncclInt32, peer, nccl_, stream_));
    NCCL(ncclRecv(from_peer, count, ncclInt32, peer, nccl_, stream_));
  }

  void report(const std::vector<cudaEvent_t>& events, std::vector<int> kinds) {
    unsigned long long wrong = 0;
    CUDA(cudaMemcpy(&wrong, wrong_, sizeof(wrong), cudaMemcpyDeviceToHost));
    MPI_Allreduce(&wrong, &wrong_here_, 1, MPI_UNSIGNED_LONG_LONG, MPI_SUM, MPI_COMM_WORLD);
    ballast_counters counters = {};
    counters.struct_size = sizeof(counters);
    BALLAST(ballast_read_counters(context_, &counters));
    committed_ = counters.epochs_committed;
    if (rank_ == 0)
      std::printf(
          "steps %d, epochs %lld, committed %lld, dropped %lld, outputs compared %lld, wrong "
          "%llu\n",
          options_.steps, static_cast<long long>(counters.epochs),
          static_cast<long long>(counters.epochs_committed),
          static_cast<long long>(counters.epochs_dropped),
          static_cast<long long>(options_.steps) * layers * tokens * hidden * ranks_, wrong_here_);
    std::vector<float> times;
    for (int step = warm_up_steps; step < options_.steps; ++step) {
      float ms = 0;
      CUDA(cudaEventElapsedTime(&ms, events[step], events[step + 1]));
      times.push_back(ms * 1000);
    }
    kinds.erase(kinds.begin(), kinds.end() - static_cast<std::ptrdiff_t>(times.size()));
    moe::print_step_times(times, kinds, MPI_COMM_WORLD);
  }

  options options_;
  int rank_;
  int ranks_;
  int slots_per_rank_ = 0;
  std::int64_t row_bytes_ = 0;
  cudaStream_t stream_ = nullptr;
  ncclComm_t nccl_ = nullptr;
  cublasHandle_t blas_ = nullptr;
  cudaGraphExec_t graph_ = nullptr;
  ballast_context* context_ = nullptr;
  std::vector<std::int8_t*> rows_;
  __nv_bfloat16* matrices_[3] = {};
  std::int32_t *states_, *before_, *ids_, *slots_, *all_states_, *all_slots_, *partial_, *arrived_;
  unsigned long long* wrong_ = nullptr;
  std::int64_t* passes_ = nullptr;
  unsigned long long wrong_here_ = 0;
  std::int64_t committed_ = 0;
};

}  // namespace

int main(int argc, char** argv) {
  int provided = 0;
  MPI_Init_thread(&argc, &argv, MPI_THREAD_FUNNELED, &provided);
  int rank = 0;
  int ranks = 0;
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  MPI_Comm_size(MPI_COMM_WORLD, &ranks);
  std::int32_t devices = 0;
  ballast_device_count(&devices);
  if (devices == 0) {
    if (rank == 0) std::printf("all tests are skipped: no GPU\n");
    MPI_Finalize();
    return 0;
  }
  CUDA(cudaSetDevice(rank % devices));
  bool good = false;
  {
    engine e(read_options(argc, argv), rank, ranks);
    e.run();
    good = e.good();
  }
  if (rank == 0) std::printf("moe_engine: %s\n", good ? "ok" : "FAILED");
  MPI_Finalize();
  return good ? 0 : 1;
}
