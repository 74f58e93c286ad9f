#pragma once
// The bytes of a file, decompressed on the way if they are gzip, with a bound on both sides of the
// decompression. A stream buffer, so that a parser can read it without holding the file in memory.

#include <cstdint>
#include <memory>
#include <streambuf>
#include <string>
#include <string_view>
#include <vector>

namespace ballast {

struct byte_limits {
  std::int64_t file_bytes = 0;   ///< on disk
  std::int64_t plain_bytes = 0;  ///< after decompression
};

/// Whether the bytes are gzip is told by their first two, not by the name. Concatenated gzip
/// members are one stream, as for gunzip; the checksum of each is verified when its end is reached.
///
/// The constructor and every read throw std::invalid_argument, one line beginning with the path:
/// missing, unreadable, not a regular file, empty, larger than a limit, gzip data damaged, cut
/// short or followed by other bytes.
class byte_source : public std::streambuf {
 public:
  byte_source(std::string path, byte_limits limits);
  ~byte_source() override;

  const std::string& name() const { return name_; }  ///< the path, printable
  bool starts_with(std::string_view magic);  ///< only before anything was read; at most 64 bytes

  /// From now on a NUL byte is an error, and so are more than `bytes_max` bytes (rounded up to the
  /// buffer's size) between two calls of `value_read`: a parser that collects one value in memory
  /// is bounded by it.
  void expect_text(std::int64_t bytes_max);
  void value_read() { value_start_ = delivered_; }

  [[noreturn]] void fail(std::string_view what) const;  ///< throws "name: what"

 protected:
  int_type underflow() override;

 private:
  struct inflater;
  struct file_closer {
    int fd = -1;
    ~file_closer();
  };

  bool refill_raw();
  std::size_t fill_plain();
  std::size_t fill_inflated();
  void check_text(std::size_t size) const;

  std::string name_;
  byte_limits limits_;
  file_closer file_;
  std::vector<char> raw_;  // as read from the file
  std::size_t raw_size_ = 0;
  std::int64_t raw_total_ = 0;
  std::vector<char> plain_;     // what the reader sees; raw_ itself where nothing is compressed
  std::int64_t delivered_ = 0;  // bytes in all buffers so far, this one included
  std::int64_t value_start_ = 0;
  std::int64_t value_bytes_max_ = -1;  // -1: bytes, not text
  std::unique_ptr<inflater> inflater_;
};

}  // namespace ballast
