#include "topology/node_source.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <stdexcept>
#include <string_view>

#include "topology/node_description.hpp"

namespace ballast {
namespace {

constexpr std::size_t xml_bytes_max = std::size_t{64} << 20;

class open_file {
 public:
  // Without O_NONBLOCK, opening a named pipe would wait for its writer.
  explicit open_file(const std::string& path)
      : file_(open(path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC)) {}
  ~open_file() {
    if (file_ >= 0) close(file_);
  }
  open_file(const open_file&) = delete;
  open_file& operator=(const open_file&) = delete;
  int get() const { return file_; }

 private:
  int file_;
};

std::string read_file(const std::string& path) {
  if (path.find('\0') != std::string::npos) refuse_source(path, "the path holds a zero byte");
  const open_file file(path);
  struct stat facts = {};
  if (file.get() < 0 || fstat(file.get(), &facts) != 0) refuse_source(path, std::strerror(errno));
  if (S_ISDIR(facts.st_mode)) refuse_source(path, "is a directory");
  if (!S_ISREG(facts.st_mode)) refuse_source(path, "is not a regular file");
  std::string text;
  std::string block(1 << 16, '\0');
  for (;;) {
    const ssize_t got = read(file.get(), block.data(), block.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) refuse_source(path, std::strerror(errno));
    if (got == 0) return text;
    text.append(block, 0, static_cast<std::size_t>(got));
    if (text.size() > xml_bytes_max) refuse_source(path, "is larger than 64 MiB");
  }
}

}  // namespace

void refuse_source(const std::string& source, const std::string& reason) {
  // A source may be anything that a user typed: its beginning is enough to know it again, on one
  // line.
  std::string shown = source.substr(0, 200);
  for (char& c : shown) {
    if (static_cast<unsigned char>(c) < ' ') c = '?';
  }
  if (source.size() > shown.size()) shown += "...";
  throw std::invalid_argument(fmt::format(
      "topology {}: {}", source.empty() ? "of this machine" : "'" + shown + "'", reason));
}

std::string read_hwloc_xml(const std::string& path) {
  std::string text = read_file(path);
  if (text.find_first_not_of(" \t\r\n") == std::string::npos) refuse_source(path, "is empty");
  if (text.find('\0') != std::string::npos) refuse_source(path, "is not XML: it holds a zero byte");
  const std::size_t root = text.find("<topology");
  if (root == std::string::npos) refuse_source(path, "is not an hwloc XML: it has no <topology>");
  // hwloc 1 wrote no version.
  const std::string_view tag = std::string_view(text).substr(root, text.find('>', root) - root);
  const std::size_t version = tag.find("version=\"");
  if (version != std::string_view::npos) {
    const std::string_view rest = tag.substr(version + 9);
    const std::string_view value = rest.substr(0, std::min<std::size_t>(rest.find('"'), 20));
    if (!value.starts_with("1.") && !value.starts_with("2.")) {
      refuse_source(path,
                    fmt::format("is of hwloc XML version '{}', 1.x and 2.x are understood", value));
    }
  }
  if (text.find("</topology>", root) == std::string::npos) {
    refuse_source(path, "is truncated: it has no </topology>");
  }
  return text;
}

void check_synthetic(const std::string& source) {
  if (source.find('\0') != std::string::npos) refuse_source(source, "holds a zero byte");
  std::uint64_t cpus = 1;
  int depth = 0;  // counts inside brackets are attributes
  for (std::size_t i = 0; i < source.size(); ++i) {
    const char c = source[i];
    if (c == '(' || c == '[') ++depth;
    if ((c == ')' || c == ']') && depth > 0) --depth;
    const char before = i == 0 ? ' ' : source[i - 1];
    const bool bare = std::isspace(static_cast<unsigned char>(before)) != 0 &&
                      std::isdigit(static_cast<unsigned char>(c)) != 0;
    if (depth != 0 || (before != ':' && !bare)) continue;
    char* end = nullptr;  // read as hwloc does: any base, and a minus makes it huge
    const std::uint64_t count = std::strtoull(source.c_str() + i, &end, 0);
    if (count > node_limits::cpus ||
        (cpus *= std::max<std::uint64_t>(count, 1)) > node_limits::cpus) {
      refuse_source(source, fmt::format("asks for more than {} CPUs", node_limits::cpus));
    }
    const auto next = static_cast<std::size_t>(end - source.c_str());
    if (next > i) i = next - 1;
  }
}

}  // namespace ballast
