#include "jobs/cuda/gpu.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "jobs/cuda/choice.hpp"

namespace ballast::gpu {
void require(cudaError_t code, const char* call) {
  if (code == cudaSuccess) return;
  cudaGetLastError();  // what does not stick is told once
  throw job_error(exit_code::system,
                  fmt::format("{}: {}: {}", call, cudaGetErrorName(code), cudaGetErrorString(code)),
                  true);
}

place take_device(const mpi_session& mpi, const std::string& asked_by) {
  const choice taken = choose(mpi);
  place here;
  together(mpi, [&] {
    if (taken.device < 0) {
      throw job_error(exit_code::system,
                      fmt::format("{}: there is no GPU: {}", asked_by, taken.why_none));
    }
    here.device = taken.device;
    BALLAST_GPU(cudaSetDevice(here.device));
    cudaDeviceProp properties = {};
    BALLAST_GPU(cudaGetDeviceProperties(&properties, here.device));
    here.name = properties.name;
    here.multiprocessors = properties.multiProcessorCount;
    char bus_id[32] = {};
    BALLAST_GPU(cudaDeviceGetPCIBusId(bus_id, sizeof(bus_id), here.device));
    here.bus_id = bus_id;
  });
  return here;
}

stream::stream() {
  cudaStream_t made = nullptr;
  BALLAST_GPU(cudaStreamCreateWithFlags(&made, cudaStreamNonBlocking));
  stream_.reset(made);
}

timer::timer() {
  cudaEvent_t made = nullptr;
  BALLAST_GPU(cudaEventCreate(&made));
  event_.reset(made);
}

namespace {

bool is_done(cudaError_t code, const char* call) {
  if (code == cudaErrorNotReady) return false;
  require(code, call);
  return true;
}

}  // namespace

bool stream::idle() const { return is_done(cudaStreamQuery(get()), "cudaStreamQuery"); }

bool timer::passed() const { return is_done(cudaEventQuery(get()), "cudaEventQuery"); }

double timer::seconds_since(const timer& earlier) const {
  float ms = 0;
  BALLAST_GPU(cudaEventElapsedTime(&ms, earlier.get(), get()));
  return ms * 1e-3;
}

void* allocate(std::size_t bytes) {
  void* memory = nullptr;
  const cudaError_t code = cudaMalloc(&memory, std::max<std::size_t>(bytes, 1));
  if (code == cudaSuccess) return memory;
  cudaGetLastError();
  std::size_t free = 0;
  std::size_t total = 0;
  cudaMemGetInfo(&free, &total);
  throw job_error(
      exit_code::system,
      fmt::format("{} bytes of device memory cannot be allocated, {} of {} are free: {}", bytes,
                  free, total, cudaGetErrorName(code)),
      true);
}

void* allocate_pinned(std::size_t bytes) {
  void* memory = nullptr;
  const cudaError_t code =
      cudaHostAlloc(&memory, std::max<std::size_t>(bytes, 1), cudaHostAllocPortable);
  if (code == cudaSuccess) return memory;
  cudaGetLastError();
  throw job_error(exit_code::system,
                  fmt::format("{} bytes of page-locked memory cannot be allocated: {}", bytes,
                              cudaGetErrorName(code)),
                  true);
}

}  // namespace ballast::gpu
