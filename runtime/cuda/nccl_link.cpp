#include "runtime/cuda/nccl_link.hpp"

#include <dlfcn.h>
#include <fmt/format.h>
#include <nccl.h>
#include <sched.h>

#include <string>

#include "runtime/agreement.hpp"
#include "runtime/cuda/cuda_handles.hpp"
#include "runtime/error.hpp"
#include "runtime/gather.hpp"
#include "runtime/mpi_handles.hpp"

namespace ballast {
namespace {

constexpr int oldest_version = 21800;  // communicators that do not block, with options
constexpr std::size_t warm_bytes = 4096;

/// The functions used, from the library that is loaded.
struct nccl_functions {
  decltype(&ncclGetVersion) get_version = nullptr;
  decltype(&ncclGetUniqueId) get_unique_id = nullptr;
  decltype(&ncclCommInitRankConfig) init = nullptr;
  decltype(&ncclCommGetAsyncError) async_error = nullptr;
  decltype(&ncclCommAbort) abort = nullptr;
  decltype(&ncclGetErrorString) error_string = nullptr;
  decltype(&ncclGroupStart) group_start = nullptr;
  decltype(&ncclGroupEnd) group_end = nullptr;
  decltype(&ncclSend) send = nullptr;
  decltype(&ncclRecv) receive = nullptr;
  std::string why_not;  ///< what is missing, or empty

  nccl_functions() {
    void* library = dlopen("libnccl.so.2", RTLD_NOW | RTLD_LOCAL);  // stays for the process's life
    if (library == nullptr) {
      why_not = fmt::format("NCCL cannot be loaded: {}", dlerror());
      return;
    }
    const auto find = [&](auto& function, const char* name) {
      function =
          reinterpret_cast<std::remove_reference_t<decltype(function)>>(dlsym(library, name));
      if (function == nullptr && why_not.empty())
        why_not = fmt::format("the NCCL that is loaded has no {}", name);
    };
    find(get_version, "ncclGetVersion");
    find(get_unique_id, "ncclGetUniqueId");
    find(init, "ncclCommInitRankConfig");
    find(async_error, "ncclCommGetAsyncError");
    find(abort, "ncclCommAbort");
    find(error_string, "ncclGetErrorString");
    find(group_start, "ncclGroupStart");
    find(group_end, "ncclGroupEnd");
    find(send, "ncclSend");
    find(receive, "ncclRecv");
    int version = 0;
    if (why_not.empty() && get_version(&version) == ncclSuccess && version < oldest_version)
      why_not = fmt::format("NCCL {} is too old, {} or newer is needed", version, oldest_version);
  }
};

const nccl_functions& nccl() {
  static const nccl_functions functions;
  return functions;
}

void check_nccl(int code, const char* call) {
  if (code == ncclSuccess) return;
  throw error(BALLAST_ERROR_SYSTEM,
              fmt::format("{}: {}", call, nccl().error_string(static_cast<ncclResult_t>(code))));
}

// What is in a group is under way only when the group ends.
void check_in_group(int code, const char* call) {
  if (code != ncclInProgress) check_nccl(code, call);
}

}  // namespace

int nccl_link::version() {
  int version = 0;
  if (nccl().why_not.empty()) nccl().get_version(&version);
  return version;
}

nccl_link::nccl_link(MPI_Comm comm, int ctas, double deadline_seconds)
    : deadline_seconds_(deadline_seconds) {
  int rank = 0;
  int ranks = 0;
  BALLAST_MPI(MPI_Comm_rank(comm, &rank));
  BALLAST_MPI(MPI_Comm_size(comm, &ranks));
  ncclUniqueId id = {};
  agree(comm, verdict_of([&] {
          if (!nccl().why_not.empty()) throw error(BALLAST_ERROR_SYSTEM, nccl().why_not);
          if (rank == 0) check_nccl(nccl().get_unique_id(&id), "ncclGetUniqueId");
        }),
        {{"NCCL version", version()}}, deadline_seconds);
  id = gather_one(comm, id, deadline_seconds, "the id of the NCCL communicator")[0];
  ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
  config.blocking = 0;
  config.minCTAs = 1;
  config.maxCTAs = ctas;
  config.cgaClusterSize = 1;
  config.splitShare = 0;
  ncclComm_t comm_made = nullptr;
  const int code = nccl().init(&comm_made, ranks, id, rank, &config);
  comm_.reset(comm_made);
  settle(code, "ncclCommInitRankConfig");
  warm(rank, ranks);
}

void nccl_link::abort_comm::operator()(ncclComm* comm) const noexcept { nccl().abort(comm); }

void nccl_link::begin_group() { check_nccl(nccl().group_start(), "ncclGroupStart"); }

void nccl_link::send(const void* from, std::size_t bytes, int peer, cudaStream_t stream) {
  check_in_group(nccl().send(from, bytes, ncclInt8, peer, comm_.get(), stream), "ncclSend");
}

void nccl_link::receive(void* to, std::size_t bytes, int peer, cudaStream_t stream) {
  check_in_group(nccl().receive(to, bytes, ncclInt8, peer, comm_.get(), stream), "ncclRecv");
}

void nccl_link::end_group() { settle(nccl().group_end(), "ncclGroupEnd"); }

void nccl_link::check() {
  ncclResult_t state = ncclSuccess;
  check_nccl(nccl().async_error(comm_.get(), &state), "ncclCommGetAsyncError");
  if (state != ncclInProgress) check_nccl(state, "NCCL");
}

// Nothing else may be asked of the communicator, or put on its stream, while it is in progress.
void nccl_link::settle(int code, const char* call) {
  if (code != ncclInProgress) return check_nccl(code, call);
  const auto start = steady_clock::now();
  for (;;) {
    ncclResult_t state = ncclInProgress;
    check_nccl(nccl().async_error(comm_.get(), &state), call);
    if (state != ncclInProgress) return check_nccl(state, call);
    if (seconds_since(start) > deadline_seconds_)
      throw error(BALLAST_ERROR_DEADLINE,
                  fmt::format("{} did not come to an end within {} s", call, deadline_seconds_));
    sched_yield();
  }
}

// In round r everybody sends to the rank r further on. The buffers cannot be freed while a kernel
// of NCCL waits for a rank that is gone.
void nccl_link::warm(int rank, int ranks) {
  const background_stream stream;
  const device_buffer<std::byte> out(warm_bytes);
  const device_buffer<std::byte> in(warm_bytes);
  try {
    for (int round = 1; round < ranks; ++round) {
      begin_group();
      send(out.data(), warm_bytes, (rank + round) % ranks, stream.get());
      receive(in.data(), warm_bytes, (rank - round + ranks) % ranks, stream.get());
      end_group();
    }
    const auto start = steady_clock::now();
    event done;
    done.record(stream.get());
    while (!done.passed()) {
      check();
      if (seconds_since(start) > deadline_seconds_)
        throw error(BALLAST_ERROR_DEADLINE, "the first messages by NCCL did not arrive");
      sched_yield();
    }
  } catch (...) {
    comm_.reset();
    throw;
  }
}

}  // namespace ballast
