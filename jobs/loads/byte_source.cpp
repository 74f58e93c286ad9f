#include "jobs/loads/byte_source.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include <cerrno>
#include <cstring>
#include <new>
#include <stdexcept>
#include <utility>

#include "jobs/loads/printable.hpp"

namespace ballast {

namespace {

constexpr std::size_t buffer_bytes = 256 * 1024;

}  // namespace

struct byte_source::inflater {
  z_stream stream{};
  bool between_members = false;

  inflater() {
    constexpr int gzip_with_largest_window = 16 + MAX_WBITS;
    if (inflateInit2(&stream, gzip_with_largest_window) != Z_OK) throw std::bad_alloc();
  }
  ~inflater() { inflateEnd(&stream); }
  inflater(const inflater&) = delete;
  inflater& operator=(const inflater&) = delete;
};

byte_source::file_closer::~file_closer() {
  if (fd >= 0) ::close(fd);
}

byte_source::byte_source(std::string path, byte_limits limits)
    : name_(printable(path, 1000)), limits_(limits), raw_(buffer_bytes) {
  if (path.empty()) fail("the file name is empty");
  if (path.find('\0') != std::string::npos) fail("the file name holds a NUL byte");
  // Non-blocking, so that a named pipe is refused below instead of waiting for a writer.
  file_.fd = ::open(path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC);
  if (file_.fd < 0) fail(fmt::format("cannot be opened: {}", std::strerror(errno)));
  struct stat status {};
  if (::fstat(file_.fd, &status) != 0)
    fail(fmt::format("cannot be read: {}", std::strerror(errno)));
  if (S_ISDIR(status.st_mode)) fail("is a directory, not a file");
  if (!S_ISREG(status.st_mode)) fail("is not a regular file");
  if (status.st_size > limits_.file_bytes) {
    fail(fmt::format("has {} bytes, at most {} are read", status.st_size, limits_.file_bytes));
  }
  if (!refill_raw()) fail("is empty");
  if (raw_size_ >= 2 && raw_[0] == '\x1f' && raw_[1] == '\x8b') {
    inflater_ = std::make_unique<inflater>();
    plain_.resize(buffer_bytes);
    inflater_->stream.next_in = reinterpret_cast<Bytef*>(raw_.data());
    inflater_->stream.avail_in = static_cast<uInt>(raw_size_);
  }
}

byte_source::~byte_source() = default;

void byte_source::fail(std::string_view what) const {
  throw std::invalid_argument(fmt::format("{}: {}", name_, what));
}

bool byte_source::starts_with(std::string_view magic) {
  if (sgetc() == traits_type::eof()) return false;
  const auto size = static_cast<std::size_t>(egptr() - gptr());
  return size >= magic.size() && std::string_view(gptr(), magic.size()) == magic;
}

void byte_source::expect_text(std::int64_t bytes_max) {
  value_bytes_max_ = bytes_max;
  value_start_ = delivered_;
  if (gptr() != egptr()) check_text(static_cast<std::size_t>(egptr() - gptr()));
}

void byte_source::check_text(std::size_t size) const {
  const char* first = gptr();
  if (const void* nul = std::memchr(first, 0, size)) {
    const auto offset =
        delivered_ - static_cast<std::int64_t>(size) + (static_cast<const char*>(nul) - first);
    fail(fmt::format("is not text: byte {} is NUL", offset));
  }
  if (delivered_ - value_start_ > value_bytes_max_ + static_cast<std::int64_t>(buffer_bytes)) {
    fail(fmt::format("holds a single value of more than {} bytes before byte {}", value_bytes_max_,
                     delivered_));
  }
}

byte_source::int_type byte_source::underflow() {
  if (gptr() != egptr()) return traits_type::to_int_type(*gptr());
  const std::size_t size = inflater_ ? fill_inflated() : fill_plain();
  if (size == 0) return traits_type::eof();
  char* data = inflater_ ? plain_.data() : raw_.data();
  setg(data, data, data + size);
  delivered_ += static_cast<std::int64_t>(size);
  if (delivered_ > limits_.plain_bytes) {
    fail(fmt::format("holds more than {} bytes{}", limits_.plain_bytes,
                     inflater_ ? " when decompressed" : ""));
  }
  if (value_bytes_max_ >= 0) check_text(size);
  return traits_type::to_int_type(*gptr());
}

// Reads until the raw buffer is full or the file ends. False at the end.
bool byte_source::refill_raw() {
  raw_size_ = 0;
  while (raw_size_ < raw_.size()) {
    const ssize_t got = ::read(file_.fd, raw_.data() + raw_size_, raw_.size() - raw_size_);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) fail(fmt::format("cannot be read: {}", std::strerror(errno)));
    if (got == 0) break;
    raw_size_ += static_cast<std::size_t>(got);
  }
  raw_total_ += static_cast<std::int64_t>(raw_size_);
  if (raw_total_ > limits_.file_bytes)
    fail(fmt::format("grew beyond {} bytes while it was read", limits_.file_bytes));
  return raw_size_ > 0;
}

// The first buffer was filled by the constructor.
std::size_t byte_source::fill_plain() {
  if (delivered_ == 0) return raw_size_;
  return refill_raw() ? raw_size_ : 0;
}

std::size_t byte_source::fill_inflated() {
  z_stream& stream = inflater_->stream;
  stream.next_out = reinterpret_cast<Bytef*>(plain_.data());
  stream.avail_out = static_cast<uInt>(plain_.size());
  while (stream.avail_out > 0) {
    if (stream.avail_in == 0) {
      if (!refill_raw()) {
        if (inflater_->between_members) break;
        fail(fmt::format("gzip data ends early, after {} decompressed bytes",
                         delivered_ + static_cast<std::int64_t>(plain_.size() - stream.avail_out)));
      }
      stream.next_in = reinterpret_cast<Bytef*>(raw_.data());
      stream.avail_in = static_cast<uInt>(raw_size_);
    }
    const bool member_begins = std::exchange(inflater_->between_members, false);
    if (member_begins) {
      if (*stream.next_in != 0x1f) fail("has other bytes after its gzip data");
      inflateReset(&stream);
    }
    const int result = inflate(&stream, Z_NO_FLUSH);
    if (result == Z_STREAM_END) {
      inflater_->between_members = true;
    } else if (result == Z_MEM_ERROR) {
      throw std::bad_alloc();
    } else if (result != Z_OK && result != Z_BUF_ERROR) {
      fail(fmt::format("gzip data is damaged after {} decompressed bytes: {}",
                       delivered_ + static_cast<std::int64_t>(plain_.size() - stream.avail_out),
                       stream.msg ? stream.msg : "not gzip"));
    }
  }
  return plain_.size() - stream.avail_out;
}

}  // namespace ballast
