// The memory of a made-up model on a GPU, the one of this rank's number modulo their count: ranks
// may share a GPU. With BALLAST_TEST_MEMORY=pieces it is mapped piece by piece and every block
// lies across the border of two pieces, as tensors in PyTorch's expandable segments do.
#include <cuda.h>
#include <cuda_runtime_api.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "runtime/cuda/driver.hpp"
#include "tests/mpi/model_memory.hpp"

namespace ballast {
namespace {

void check(cudaError_t code, const char* what) {
  if (code == cudaSuccess) return;
  std::fprintf(stderr, "%s: %s\n", what, cudaGetErrorString(code));
  std::abort();
}

template <typename... Arguments>
void call(const char* name, Arguments... arguments) {
  const int code = call_driver(name, arguments...);
  if (code == CUDA_SUCCESS) return;
  std::fprintf(stderr, "%s: CUresult %d\n", name, code);
  std::abort();
}

class device_model_memory final : public model_memory {
 public:
  ~device_model_memory() override {
    for (void* block : blocks_) cudaFree(block);
    for (const mapped& m : mapped_) {
      call("cuMemUnmap", m.at, m.bytes);
      call("cuMemAddressFree", m.at, m.bytes);
    }
    for (const lent& l : lent_) cudaFree(l.at);
  }
  void* allocate(std::size_t bytes) override {
    const char* kind = std::getenv("BALLAST_TEST_MEMORY");
    if (kind != nullptr && std::strcmp(kind, "pieces") == 0) return map_pieces(bytes);
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
  struct mapped {
    CUdeviceptr at = 0;
    std::size_t bytes = 0;
  };

  // The block lies across the end of the first piece.
  void* map_pieces(std::size_t bytes) {
    constexpr std::size_t piece = std::size_t{2} << 20;
    CUmemAllocationProp kind = {};
    kind.type = CU_MEM_ALLOCATION_TYPE_PINNED;
    kind.location.type = CU_MEM_LOCATION_TYPE_DEVICE;
    check(cudaGetDevice(&kind.location.id), "cudaGetDevice");
    kind.requestedHandleTypes = CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR;
    CUmemAccessDesc access = {};
    access.location = kind.location;
    access.flags = CU_MEM_ACCESS_FLAGS_PROT_READWRITE;
    const std::size_t before = std::min(bytes / 2, piece);
    mapped all;
    all.bytes = (1 + (bytes + piece - 1) / piece) * piece;
    call("cuMemAddressReserve", &all.at, all.bytes, std::size_t{0}, CUdeviceptr{0}, 0ull);
    for (std::size_t at = 0; at < all.bytes; at += piece) {
      CUmemGenericAllocationHandle handle = 0;
      call("cuMemCreate", &handle, piece, static_cast<const CUmemAllocationProp*>(&kind), 0ull);
      call("cuMemMap", all.at + at, piece, std::size_t{0}, handle, 0ull);
      call("cuMemRelease", handle);
    }
    call("cuMemSetAccess", all.at, all.bytes, static_cast<const CUmemAccessDesc*>(&access),
         std::size_t{1});
    if (mapped_.empty()) std::fprintf(stderr, "memory in pieces\n");
    mapped_.push_back(all);
    return reinterpret_cast<void*>(all.at + piece - before);
  }

  std::vector<void*> blocks_;
  std::vector<mapped> mapped_;
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
