#include "jobs/output.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>

#include "jobs/exit_code.hpp"

namespace ballast {

nlohmann::ordered_json json_head(const std::string& command) {
  return {{"schema", "ballast." + command + "/1"},
          {"version", ballast_version()},
          {"command", command}};
}

void write_file(const std::string& path, const std::string& text) {
  const std::string temporary = fmt::format("{}.{}.tmp", path, getpid());
  const auto fail = [&](const char* what) {
    const int code = errno;
    unlink(temporary.c_str());
    throw job_error(exit_code::system,
                    fmt::format("{}: cannot {}: {}", path, what, std::strerror(code)));
  };
  const int file = open(temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
  if (file < 0) fail("create");
  for (std::size_t done = 0; done < text.size();) {
    const ssize_t n = write(file, text.data() + done, text.size() - done);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) {
      close(file);
      fail("write");
    }
    done += static_cast<std::size_t>(n);
  }
  if (fsync(file) != 0 && errno != EINVAL) {
    close(file);
    fail("flush");
  }
  close(file);
  if (std::rename(temporary.c_str(), path.c_str()) != 0) fail("rename into place");
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
