#pragma once
// Memory that was mapped piece by piece (cuMemMap), as PyTorch's expandable segments are, readable
// by other processes: CUDA IPC has no handles for it, but each piece has a file descriptor, which
// another process of the same user takes over (pidfd_getfd) and maps read-only.

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace ballast {

/// A file descriptor of its own.
class owned_fd {
 public:
  owned_fd() = default;
  explicit owned_fd(int fd) : fd_(fd) {}
  owned_fd(owned_fd&& other) noexcept : fd_(other.fd_) { other.fd_ = -1; }
  owned_fd& operator=(owned_fd&& other) noexcept;
  ~owned_fd();
  int get() const { return fd_; }

 private:
  int fd_ = -1;
};

/// The piece that begins at `base`; -1 if it cannot be given to other processes: `refusal` is the
/// CUresult.
owned_fd export_piece(std::uintptr_t base, int& refusal);

/// Lets the other processes of this user take over descriptors where the system asks for that, for
/// the life of this process.
void allow_takeover();

/// The descriptor that is `fd` in the process `owner`; -1, and `why_not`, if it cannot be had.
owned_fd take_over(pid_t owner, int fd, std::string& why_not);

/// Pieces of another process, mapped one behind the other as they are there.
class piece_run {
 public:
  /// `begin`: where the first piece is in its owner's memory.
  piece_run(std::uintptr_t begin, std::size_t bytes);
  piece_run(piece_run&& other) noexcept;
  piece_run& operator=(piece_run&&) = delete;
  ~piece_run();

  bool holds(std::uintptr_t address) const {
    return address >= begin_ && address < begin_ + bytes_;
  }
  /// Throws error(SYSTEM).
  void map(std::uintptr_t base, std::size_t bytes, const owned_fd& piece);
  /// After all pieces are mapped: `device` may read them. Throws error(SYSTEM).
  void open(int device);

  /// Where what is at `address` in the owner's memory is here.
  std::byte* here(std::uintptr_t address) const {
    return reinterpret_cast<std::byte*>(at_ + (address - begin_));
  }

 private:
  struct mapped {
    std::uintptr_t at;
    std::size_t bytes;
  };
  std::uintptr_t begin_;
  std::size_t bytes_;
  std::uintptr_t at_ = 0;  // here
  std::vector<mapped> pieces_;
};

}  // namespace ballast
