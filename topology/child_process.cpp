#include "topology/child_process.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <exception>
#include <stdexcept>
#include <string>

namespace ballast {
namespace {

using std::chrono::steady_clock;

// Goes through the pipe first. The length tells the end even if another child holds the pipe open.
struct answer_head {
  enum : std::uint64_t { answered = 0, refused = 1, failed = 2 };
  std::uint64_t outcome = answered;
  std::uint64_t bytes = 0;
};
constexpr std::uint64_t answer_bytes_max = std::uint64_t{64} << 20;

bool write_all(int file, const void* data, std::size_t bytes) {
  const char* next = static_cast<const char*>(data);
  while (bytes > 0) {
    const ssize_t done = write(file, next, bytes);
    if (done < 0 && errno == EINTR) continue;
    if (done <= 0) return false;
    next += done;
    bytes -= static_cast<std::size_t>(done);
  }
  return true;
}

[[noreturn]] void be_child(const std::function<std::vector<std::byte>()>& make,
                           int answer) noexcept {
  // A crash here is an answer: no handler of the parent's program, no core file, nothing on stderr.
  for (const int number :
       {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGTERM, SIGINT, SIGPIPE, SIGALRM}) {
    signal(number, SIG_DFL);
  }
  const rlimit none = {0, 0};
  setrlimit(RLIMIT_CORE, &none);
  const int nowhere = open("/dev/null", O_WRONLY | O_CLOEXEC);
  if (nowhere >= 0) dup2(nowhere, STDERR_FILENO);

  answer_head head;
  std::vector<std::byte> bytes;
  try {
    bytes = make();
  } catch (const std::exception& error) {
    const bool refused = dynamic_cast<const std::invalid_argument*>(&error) != nullptr;
    head.outcome = refused ? answer_head::refused : answer_head::failed;
    const auto* text = reinterpret_cast<const std::byte*>(error.what());
    bytes.assign(text, text + std::strlen(error.what()));
  }
  head.bytes = bytes.size();
  const bool sent =
      write_all(answer, &head, sizeof head) && write_all(answer, bytes.data(), bytes.size());
  _exit(sent ? 0 : 1);  // without the parent's exit handlers and buffers
}

class pipe_ends {
 public:
  pipe_ends() {
    if (pipe2(ends_, O_CLOEXEC) != 0) {
      throw std::runtime_error(fmt::format("no pipe: {}", std::strerror(errno)));
    }
  }
  ~pipe_ends() {
    close_write();
    close(ends_[0]);
  }
  pipe_ends(const pipe_ends&) = delete;
  pipe_ends& operator=(const pipe_ends&) = delete;
  int read_end() const { return ends_[0]; }
  int write_end() const { return ends_[1]; }
  void close_write() {
    if (ends_[1] >= 0) close(ends_[1]);
    ends_[1] = -1;
  }

 private:
  int ends_[2] = {-1, -1};
};

// Kills and reaps the child at the end of the scope unless it was awaited before.
class child {
 public:
  explicit child(pid_t id) : id_(id) {}
  ~child() { end(true); }
  child(const child&) = delete;
  child& operator=(const child&) = delete;

  /// Its wait status, or 0 where the program's own SIGCHLD handling was faster than we are.
  int end(bool kill_it) {
    if (id_ <= 0) return 0;
    if (kill_it) kill(id_, SIGKILL);
    int status = 0;
    pid_t reaped;
    do {
      reaped = waitpid(id_, &status, 0);
    } while (reaped < 0 && errno == EINTR);
    id_ = -1;
    return reaped < 0 ? 0 : status;
  }

 private:
  pid_t id_;
};

enum class read_result { complete, ended, late };

read_result read_all(int file, void* data, std::size_t bytes, steady_clock::time_point until) {
  char* next = static_cast<char*>(data);
  while (bytes > 0) {
    const auto left =
        std::chrono::duration_cast<std::chrono::milliseconds>(until - steady_clock::now()).count();
    pollfd wait = {file, POLLIN, 0};
    const int ready = poll(&wait, 1, static_cast<int>(std::clamp<std::int64_t>(left, 0, 1 << 30)));
    if (ready < 0 && errno == EINTR) continue;
    if (ready == 0) return read_result::late;
    const ssize_t got = ready < 0 ? -1 : read(file, next, bytes);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return read_result::ended;
    next += got;
    bytes -= static_cast<std::size_t>(got);
  }
  return read_result::complete;
}

}  // namespace

std::vector<std::byte> run_in_child(const std::function<std::vector<std::byte>()>& make,
                                    std::chrono::milliseconds deadline) {
  const auto until = steady_clock::now() + deadline;
  pipe_ends pipe;
  const pid_t id = fork();
  if (id < 0) throw std::runtime_error(fmt::format("no child process: {}", std::strerror(errno)));
  if (id == 0) be_child(make, pipe.write_end());
  child running(id);
  pipe.close_write();

  answer_head head;
  std::vector<std::byte> bytes;
  read_result result = read_all(pipe.read_end(), &head, sizeof head, until);
  if (result == read_result::complete) {
    if (head.bytes > answer_bytes_max) {
      throw std::runtime_error(fmt::format("an answer of {} bytes", head.bytes));
    }
    bytes.resize(head.bytes);
    result = read_all(pipe.read_end(), bytes.data(), bytes.size(), until);
  }
  if (result == read_result::late) {
    throw std::runtime_error(fmt::format("no answer within {} ms", deadline.count()));
  }
  const int status = running.end(false);
  if (result == read_result::ended) {
    throw std::runtime_error(WIFSIGNALED(status)
                                 ? fmt::format("crashed ({})", strsignal(WTERMSIG(status)))
                                 : std::string("ended without an answer"));
  }
  if (head.outcome == answer_head::answered) return bytes;
  const std::string text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  if (head.outcome == answer_head::refused) throw std::invalid_argument(text);
  throw std::runtime_error(text);
}

}  // namespace ballast
