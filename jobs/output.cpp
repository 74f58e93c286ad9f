#include "jobs/output.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "jobs/exit_code.hpp"

namespace ballast {

nlohmann::ordered_json json_head(const std::string& command) {
  return {{"schema", "ballast." + command + "/1"},
          {"version", ballast_version()},
          {"command", command}};
}

namespace {

[[noreturn]] void fail(const std::string& path, const char* what) {
  throw job_error(exit_code::system,
                  fmt::format("{}: cannot {}: {}", path, what, std::strerror(errno)));
}

void write_all(int file, const std::string& text, const std::string& path) {
  for (std::size_t done = 0; done < text.size();) {
    const ssize_t n = write(file, text.data() + done, text.size() - done);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) fail(path, "write");
    done += static_cast<std::size_t>(n);
  }
}

class descriptor {
 public:
  descriptor(const std::string& name, int flags, const std::string& path, const char* what)
      : file_(open(name.c_str(), O_WRONLY | O_CLOEXEC | flags, 0644)) {
    if (file_ < 0) fail(path, what);
  }
  ~descriptor() { close(file_); }
  descriptor(const descriptor&) = delete;
  int get() const { return file_; }

 private:
  int file_;
};

// A new file beside the one that is to be written; it is removed unless it was put in place.
class temporary_file {
 public:
  explicit temporary_file(const std::string& path)
      : path_(path),
        temporary_(fmt::format("{}.{}.tmp", path, getpid())),
        file_(temporary_, O_CREAT | O_EXCL, path, "create") {}
  ~temporary_file() {
    if (!in_place_) unlink(temporary_.c_str());
  }

  void write(const std::string& text) { write_all(file_.get(), text, path_); }

  void put_in_place() {
    if (fsync(file_.get()) != 0 && errno != EINVAL) fail(path_, "flush");
    if (std::rename(temporary_.c_str(), path_.c_str()) != 0) fail(path_, "rename into place");
    in_place_ = true;
  }

 private:
  const std::string& path_;
  std::string temporary_;
  descriptor file_;
  bool in_place_ = false;
};

// Whether something is there that a rename would replace by a file: a device, a pipe, a folder.
bool is_no_file(const std::string& path) {
  std::error_code none;
  const std::filesystem::file_status status = std::filesystem::status(path, none);
  return std::filesystem::exists(status) && !std::filesystem::is_regular_file(status);
}

// Where a link leads, so that the link stays.
std::string behind_links(const std::string& path) {
  std::error_code none;
  const std::filesystem::path target = std::filesystem::canonical(path, none);
  return none ? path : target.string();
}

}  // namespace

void write_file(const std::string& path, const std::string& text) {
  if (is_no_file(path)) return write_all(descriptor(path, 0, path, "open").get(), text, path);
  const std::string target = behind_links(path);
  temporary_file file(target);
  file.write(text);
  file.put_in_place();
}

void require_writable(const std::string& path) {
  if (path.empty() || path == "-") return;
  if (std::error_code none; std::filesystem::is_directory(path, none))
    throw job_error(exit_code::system, fmt::format("{}: is a directory", path));
  if (is_no_file(path)) return;
  const std::string target = behind_links(path);
  const temporary_file trial(target);
}

void write_json(const nlohmann::ordered_json& document, const std::string& destination) {
  if (destination.empty()) return;
  const std::string text = document.dump(1) + "\n";
  if (destination == "-") {
    if (std::fwrite(text.data(), 1, text.size(), stdout) != text.size() || std::fflush(stdout) != 0)
      fail("standard output", "write");
  } else {
    write_file(destination, text);
  }
}

}  // namespace ballast
