// The memory of a made-up model on a GPU, the one of this rank's number modulo their count: ranks
// may share a GPU.
#include <cuda_runtime_api.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "tests/mpi/model_memory.hpp"

namespace ballast {
namespace {

void check(cudaError_t code, const char* what) {
  if (code == cudaSuccess) return;
  std::fprintf(stderr, "%s: %s\n", what, cudaGetErrorString(code));
  std::abort();
}

class device_model_memory final : public model_memory {
 public:
  ~device_model_memory() override {
    for (void* block : blocks_) cudaFree(block);
    for (const lent& l : lent_) cudaFree(l.at);
  }
  void* allocate(std::size_t bytes) override {
    void* block = nullptr;
    check(cudaMalloc(&block, bytes), "cudaMalloc");
    blocks_.push_back(block);
    return block;
  }
  void write(void* to, const void* from, std::size_t bytes) override {
    check(cudaMemcpy(to, from, bytes, cudaMemcpyHostToDevice), "write");
  }
  void read(void* to, const void* from, std::size_t bytes) override {
    check(cudaMemcpy(to, from, bytes, cudaMemcpyDeviceToHost), "read");
  }
  void* lend(const void* from, std::size_t bytes) override {
    lent& l = lent_[next_++ % lent_.size()];
    if (bytes > l.bytes) {
      cudaFree(l.at);
      l.bytes = 2 * bytes;
      check(cudaMalloc(&l.at, l.bytes), "cudaMalloc");
    }
    if (bytes > 0) write(l.at, from, bytes);
    return l.at;
  }

 private:
  struct lent {
    void* at = nullptr;
    std::size_t bytes = 0;
  };
  std::vector<void*> blocks_;
  std::array<lent, 4> lent_;
  std::size_t next_ = 0;
};

}  // namespace

const char* why_no_model_memory() {
  int devices = 0;
  return cudaGetDeviceCount(&devices) == cudaSuccess && devices > 0 ? nullptr : "no GPU";
}

std::unique_ptr<model_memory> make_model_memory() {
  return std::make_unique<device_model_memory>();
}

// BALLAST_TEST_TRANSPORT: copy or nccl, to force one; anything else: auto.
void use_backend_of_tests(ballast_config& config, int local_rank) {
  int devices = 0;
  check(cudaGetDeviceCount(&devices), "cudaGetDeviceCount");
  config.backend = BALLAST_BACKEND_CUDA;
  config.device = local_rank % devices;
  check(cudaSetDevice(config.device), "cudaSetDevice");
  const char* forced = std::getenv("BALLAST_TEST_TRANSPORT");
  if (forced == nullptr) return;
  if (std::strcmp(forced, "nccl") == 0) config.transport = BALLAST_TRANSPORT_NCCL;
  if (std::strcmp(forced, "copy") == 0) config.transport = BALLAST_TRANSPORT_COPY;
}

// NCCL, which carries weights across nodes, refuses ranks that share a GPU.
bool can_cross_nodes(int ranks) {
  int devices = 0;
  check(cudaGetDeviceCount(&devices), "cudaGetDeviceCount");
  const char* forced = std::getenv("BALLAST_TEST_TRANSPORT");
  return ranks <= devices && (forced == nullptr || std::strcmp(forced, "copy") != 0);
}

}  // namespace ballast
