#include "jobs/output.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>

#include "jobs/exit_code.hpp"

namespace ballast {

nlohmann::ordered_json json_head(const std::string& command) {
  return {{"schema", "ballast." + command + "/1"},
          {"version", ballast_version()},
          {"command", command}};
}

namespace {

// A new file beside the one that is to be written; it is removed unless it was put in place.
class temporary_file {
 public:
  explicit temporary_file(const std::string& path)
      : path_(path), temporary_(fmt::format("{}.{}.tmp", path, getpid())) {
    file_ = open(temporary_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    if (file_ < 0) fail("create");
  }
  ~temporary_file() {
    if (file_ >= 0) close(file_);
    if (!in_place_) unlink(temporary_.c_str());
  }
  temporary_file(const temporary_file&) = delete;

  void write(const std::string& text) {
    for (std::size_t done = 0; done < text.size();) {
      const ssize_t n = ::write(file_, text.data() + done, text.size() - done);
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) fail("write");
      done += static_cast<std::size_t>(n);
    }
  }

  void put_in_place() {
    if (fsync(file_) != 0 && errno != EINVAL) fail("flush");
    if (std::rename(temporary_.c_str(), path_.c_str()) != 0) fail("rename into place");
    in_place_ = true;
  }

 private:
  [[noreturn]] void fail(const char* what) const {
    throw job_error(exit_code::system,
                    fmt::format("{}: cannot {}: {}", path_, what, std::strerror(errno)));
  }

  const std::string& path_;
  std::string temporary_;
  int file_ = -1;
  bool in_place_ = false;
};

}  // namespace

void write_file(const std::string& path, const std::string& text) {
  temporary_file file(path);
  file.write(text);
  file.put_in_place();
}

void require_writable(const std::string& path) {
  if (path.empty() || path == "-") return;
  if (std::error_code code; std::filesystem::is_directory(path, code))
    throw job_error(exit_code::system, fmt::format("{}: is a directory", path));
  const temporary_file trial(path);
}

void write_json(const nlohmann::ordered_json& document, const std::string& destination) {
  if (destination.empty()) return;
  const std::string text = document.dump(1) + "\n";
  if (destination == "-") {
    std::fwrite(text.data(), 1, text.size(), stdout);
    std::fflush(stdout);
  } else {
    write_file(destination, text);
  }
}

}  // namespace ballast
