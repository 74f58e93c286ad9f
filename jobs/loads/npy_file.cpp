#include "jobs/loads/npy_file.hpp"

#include <fmt/format.h>

#include <cassert>

namespace ballast {

std::string npy_text(std::array<std::int64_t, 3> shape, std::span<const std::int64_t> loads) {
  assert(static_cast<std::size_t>(shape[0] * shape[1] * shape[2]) == loads.size());
  std::string header =
      fmt::format("{{'descr': '<i8', 'fortran_order': False, 'shape': ({}, {}, {}), }}", shape[0],
                  shape[1], shape[2]);
  // Magic, version, length and header end on a multiple of 64 bytes, the last a newline.
  header.append((64 - (10 + header.size() + 1) % 64) % 64, ' ');
  header += '\n';
  std::string text("\x93NUMPY\x01\x00", 8);
  text += static_cast<char>(header.size() & 0xff);
  text += static_cast<char>(header.size() >> 8);
  text += header;
  text.reserve(text.size() + loads.size() * 8);
  for (const std::int64_t load : loads) {
    for (int shift = 0; shift < 64; shift += 8)
      text += static_cast<char>(static_cast<std::uint64_t>(load) >> shift & 0xff);
  }
  return text;
}

}  // namespace ballast
