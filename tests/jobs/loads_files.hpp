#pragma once
// Small trace files made by the tests, and the error a bad one gives.

#include <gtest/gtest.h>
#include <unistd.h>
#include <zlib.h>

#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "jobs/loads/trace.hpp"

namespace ballast {

/// A folder of this test alone, removed with what is in it at the end.
class temporary_folder {
 public:
  temporary_folder() {
    std::string pattern =
        (std::filesystem::temp_directory_path() / "ballast-loads-XXXXXX").string();
    if (mkdtemp(pattern.data()) == nullptr)
      throw std::runtime_error("no temporary folder: " + pattern);
    path_ = pattern;
  }
  ~temporary_folder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  temporary_folder(const temporary_folder&) = delete;
  temporary_folder& operator=(const temporary_folder&) = delete;

  std::string path(const std::string& name) const { return (path_ / name).string(); }

  /// Writes the file and returns its path. A new file each time: some file systems flush to disk
  /// when an old one is written over, which takes milliseconds.
  std::string write(const std::string& name, std::string_view content) const {
    std::filesystem::remove(path(name));
    std::ofstream(path(name), std::ios::binary) << content;
    return path(name);
  }

 private:
  std::filesystem::path path_;
};

inline std::string gzip(std::string_view content) {
  z_stream stream{};
  deflateInit2(&stream, 6, Z_DEFLATED, 16 + MAX_WBITS, 8, Z_DEFAULT_STRATEGY);
  std::string out(deflateBound(&stream, content.size()) + 64, '\0');
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(content.data()));
  stream.avail_in = static_cast<uInt>(content.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  deflate(&stream, Z_FINISH);
  out.resize(stream.total_out);
  deflateEnd(&stream);
  return out;
}

/// A .npy file of this version around a header's text, blank-padded to 64 bytes as NumPy does.
inline std::string npy(std::string header, std::string_view data, int version = 1) {
  const std::size_t prefix = version == 1 ? 10 : 12;
  while ((prefix + header.size() + 1) % 64 != 0) header += ' ';
  header += '\n';
  std::string out = "\x93NUMPY";
  out += static_cast<char>(version);
  out += '\0';
  for (std::size_t i = 0; i < prefix - 8; ++i)
    out += static_cast<char>(header.size() >> 8 * i & 0xff);
  return out + header + std::string(data);
}

/// The bytes of values as they lie in memory here.
template <typename Value>
std::string bytes_of(const std::vector<Value>& values) {
  std::string out(values.size() * sizeof(Value), '\0');
  std::memcpy(out.data(), values.data(), out.size());
  return out;
}

/// The message of the std::invalid_argument that opening gives, or "opened".
inline std::string error_of_opening(const std::string& path, const trace_limits& limits = {}) {
  try {
    open_trace(path, limits);
  } catch (const std::invalid_argument& error) {
    return error.what();
  }
  return "opened";
}

inline std::vector<std::int64_t> counts_of(load_source& source, std::int64_t step) {
  std::vector<std::int64_t> counts(static_cast<std::size_t>(source.layers()) *
                                   static_cast<std::size_t>(source.experts()));
  source.counts(step, counts);
  return counts;
}

}  // namespace ballast
