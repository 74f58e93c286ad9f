#include "runtime/cuda/mapped_pieces.hpp"

#include <fmt/format.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "runtime/cuda/driver.hpp"
#include "runtime/error.hpp"

namespace ballast {
namespace {

template <typename... Arguments>
void require_driver(const char* name, Arguments... arguments) {
  if (const CUresult code = call_driver(name, arguments...); code != CUDA_SUCCESS)
    throw error(BALLAST_ERROR_SYSTEM, fmt::format("{}: CUresult {}", name, static_cast<int>(code)));
}

}  // namespace

owned_fd& owned_fd::operator=(owned_fd&& other) noexcept {
  std::swap(fd_, other.fd_);
  return *this;
}

owned_fd::~owned_fd() {
  if (fd_ >= 0) close(fd_);
}

owned_fd export_piece(std::uintptr_t base, int& refusal) {
  CUmemGenericAllocationHandle handle = 0;
  CUresult code =
      call_driver("cuMemRetainAllocationHandle", &handle, reinterpret_cast<void*>(base));
  int fd = -1;
  if (code == CUDA_SUCCESS) {
    code = call_driver("cuMemExportToShareableHandle", static_cast<void*>(&fd), handle,
                       CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR, 0ull);
    release_by_driver("cuMemRelease", handle);
  }
  refusal = static_cast<int>(code);
  return owned_fd(code == CUDA_SUCCESS ? fd : -1);
}

// Where ptrace is restricted to a process's ancestors (Yama). As MPI's own copies between processes
// ask for.
void allow_takeover() { prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY, 0, 0, 0); }

owned_fd take_over(pid_t owner, int fd, std::string& why_not) {
  if (owner == getpid()) {  // a neighbour never is this process
    why_not = "its owner's process number is this one's: it is in another PID namespace";
    return owned_fd();
  }
  const owned_fd process(static_cast<int>(syscall(SYS_pidfd_open, owner, 0)));
  const int taken =
      process.get() < 0 ? -1 : static_cast<int>(syscall(SYS_pidfd_getfd, process.get(), fd, 0));
  if (taken < 0) {
    why_not = fmt::format("its file descriptor cannot be taken over from process {}: {}", owner,
                          std::strerror(errno));
  }
  return owned_fd(taken);
}

piece_run::piece_run(std::uintptr_t begin, std::size_t bytes) : begin_(begin), bytes_(bytes) {
  CUdeviceptr at = 0;
  require_driver("cuMemAddressReserve", &at, bytes, std::size_t{0}, CUdeviceptr{0}, 0ull);
  at_ = at;
}

piece_run::piece_run(piece_run&& other) noexcept
    : begin_(other.begin_),
      bytes_(other.bytes_),
      at_(std::exchange(other.at_, 0)),
      pieces_(std::exchange(other.pieces_, {})) {}

piece_run::~piece_run() {
  if (at_ == 0) return;
  for (const mapped& piece : pieces_)
    release_by_driver("cuMemUnmap", static_cast<CUdeviceptr>(piece.at), piece.bytes);
  release_by_driver("cuMemAddressFree", static_cast<CUdeviceptr>(at_), bytes_);
}

void piece_run::map(std::uintptr_t base, std::size_t bytes, const owned_fd& piece) {
  CUmemGenericAllocationHandle handle = 0;
  require_driver("cuMemImportFromShareableHandle", &handle,
                 reinterpret_cast<void*>(static_cast<std::intptr_t>(piece.get())),
                 CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR);
  const std::uintptr_t at = at_ + (base - begin_);
  const CUresult code =
      call_driver("cuMemMap", static_cast<CUdeviceptr>(at), bytes, std::size_t{0}, handle, 0ull);
  release_by_driver("cuMemRelease", handle);  // the mapping keeps it
  if (code != CUDA_SUCCESS)
    throw error(BALLAST_ERROR_SYSTEM, fmt::format("cuMemMap: CUresult {}", static_cast<int>(code)));
  pieces_.push_back({at, bytes});
}

void piece_run::open(int device) {
  CUmemAccessDesc access = {};
  access.location.type = CU_MEM_LOCATION_TYPE_DEVICE;
  access.location.id = device;
  access.flags = CU_MEM_ACCESS_FLAGS_PROT_READ;
  require_driver("cuMemSetAccess", static_cast<CUdeviceptr>(at_), bytes_,
                 static_cast<const CUmemAccessDesc*>(&access), std::size_t{1});
}

}  // namespace ballast
