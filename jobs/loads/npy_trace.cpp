// Reads loads from a NumPy .npy file: a header that is a Python dictionary in text, then the
// elements.

#include <fmt/format.h>

#include <array>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <string>

#include "jobs/loads/npy_header.hpp"
#include "jobs/loads/trace_data.hpp"

namespace ballast {

namespace {

std::vector<char> read_exactly(byte_source& source, std::int64_t bytes, std::string_view what) {
  constexpr std::int64_t piece_bytes = 1 << 20;
  std::vector<char>
      data;  // grows with what arrives: the header may promise more than the file holds
  while (static_cast<std::int64_t>(data.size()) < bytes) {
    const auto old_size = data.size();
    const auto want = std::min(piece_bytes, bytes - static_cast<std::int64_t>(old_size));
    data.resize(old_size + static_cast<std::size_t>(want));
    const std::streamsize got = source.sgetn(data.data() + old_size, want);
    if (got < want) {
      source.fail(fmt::format("is cut short: {} has {} of {} bytes", what,
                              static_cast<std::int64_t>(old_size) + got, bytes));
    }
  }
  return data;
}

std::string read_header_text(byte_source& source) {
  constexpr std::uint32_t header_bytes_max = 65535;
  const std::vector<char> start = read_exactly(source, 8, "the .npy magic and version");
  const int major = static_cast<unsigned char>(start[6]);
  const int minor = static_cast<unsigned char>(start[7]);
  if (major < 1 || major > 3 || minor != 0) {
    source.fail(fmt::format("is .npy version {}.{}; 1.0, 2.0 and 3.0 are read", major, minor));
  }
  const std::vector<char> length =
      read_exactly(source, major == 1 ? 2 : 4, "the .npy header length");
  std::uint32_t bytes = 0;
  for (std::size_t i = length.size(); i-- > 0;)
    bytes = bytes << 8 | static_cast<unsigned char>(length[i]);
  if (bytes > header_bytes_max) {
    source.fail(
        fmt::format(".npy header has {} bytes, at most {} are read", bytes, header_bytes_max));
  }
  const std::vector<char> text = read_exactly(source, bytes, "the .npy header");
  return {text.begin(), text.end()};
}

double half_to_double(std::uint16_t bits) {
  const int exponent = bits >> 10 & 0x1f;
  const int fraction = bits & 0x3ff;
  double magnitude =
      exponent == 0 ? std::ldexp(fraction, -24) : std::ldexp(1024 + fraction, exponent - 25);
  if (exponent == 0x1f) {
    magnitude = fraction == 0 ? std::numeric_limits<double>::infinity()
                              : std::numeric_limits<double>::quiet_NaN();
  }
  return bits >> 15 ? -magnitude : magnitude;
}

std::uint64_t element_bits(const char* data, const npy_type& type) {
  std::uint64_t bits = 0;
  for (int i = 0; i < type.bytes; ++i) {
    const int index = type.big_endian ? i : type.bytes - 1 - i;
    bits = bits << 8 | static_cast<unsigned char>(data[index]);
  }
  return bits;
}

/// A count, or what is wrong with it.
struct count_or_reason {
  std::int64_t count = 0;
  std::string reason;
};

count_or_reason from_float(double value) {
  constexpr double load_max_as_double = 4611686018427387904.0;
  if (!std::isfinite(value)) return {0, fmt::format("is {}: must be finite", value)};
  if (value < 0) return {0, fmt::format("is {}: must not be negative", value)};
  if (value != std::floor(value)) return {0, fmt::format("is {}: must be a whole number", value)};
  if (value > load_max_as_double) return {0, fmt::format("is {}: larger than 2^62", value)};
  return {static_cast<std::int64_t>(value), {}};
}

count_or_reason decode(const char* data, const npy_type& type) {
  const std::uint64_t bits = element_bits(data, type);
  if (type.kind == 'f') {
    if (type.bytes == 2) return from_float(half_to_double(static_cast<std::uint16_t>(bits)));
    if (type.bytes == 4) return from_float(std::bit_cast<float>(static_cast<std::uint32_t>(bits)));
    return from_float(std::bit_cast<double>(bits));
  }
  if (type.kind == 'i' && bits >> (type.bytes * 8 - 1) != 0) {
    const std::uint64_t sign_extended =
        type.bytes == 8 ? bits : bits | ~std::uint64_t{0} << type.bytes * 8;
    return {0,
            fmt::format("is {}: must not be negative", static_cast<std::int64_t>(sign_extended))};
  }
  if (bits > static_cast<std::uint64_t>(load_max))
    return {0, fmt::format("is {}: larger than 2^62", bits)};
  return {static_cast<std::int64_t>(bits), {}};
}

/// The shape as [steps][layers][experts], within the limits, and how far apart neighbours are in
/// each.
struct npy_layout {
  std::array<std::int64_t, 3> size{};
  std::array<std::int64_t, 3> stride{};  // elements
};

npy_layout layout_of(const npy_header& header, const byte_source& source,
                     const trace_limits& limits) {
  const std::size_t dimensions = header.shape.size();
  if (dimensions != 2 && dimensions != 3) {
    source.fail(fmt::format(
        "shape has {} dimensions: must be [layers, experts] or [steps, layers, experts]",
        dimensions));
  }
  npy_layout layout;
  layout.size = {1, header.shape[dimensions - 2], header.shape[dimensions - 1]};
  if (dimensions == 3) layout.size[0] = header.shape[0];
  const std::array<std::int64_t, 3> most = {limits.steps, limits.layers, limits.experts};
  constexpr std::array<const char*, 3> names = {"steps", "layers", "experts"};
  std::int64_t cells = 1;
  for (std::size_t i = 0; i < 3; ++i) {
    if (layout.size[i] < 1 || layout.size[i] > most[i]) {
      source.fail(
          fmt::format("shape has {} {}: must be 1 to {}", layout.size[i], names[i], most[i]));
    }
    if (layout.size[i] > limits.cells / cells)
      source.fail(fmt::format("shape has more than {} counts in all", limits.cells));
    cells *= layout.size[i];
  }
  layout.stride =
      header.fortran_order
          ? std::array<std::int64_t, 3>{1, layout.size[0], layout.size[0] * layout.size[1]}
          : std::array<std::int64_t, 3>{layout.size[1] * layout.size[2], layout.size[2], 1};
  return layout;
}

}  // namespace

trace_data read_npy_trace(byte_source& source, const trace_limits& limits) {
  const npy_header header = parse_npy_header(read_header_text(source), source);
  const npy_layout layout = layout_of(header, source, limits);
  const auto [steps, layers, experts] = layout.size;
  const std::vector<char> elements =
      read_exactly(source, steps * layers * experts * header.type.bytes, "the data");
  if (source.sgetc() != byte_source::traits_type::eof()) source.fail("has bytes after its data");

  trace_data data;
  data.layers = static_cast<std::int32_t>(layers);
  data.experts = static_cast<std::int32_t>(experts);
  std::vector<std::int64_t> counts(static_cast<std::size_t>(layers * experts));
  for (std::int64_t step = 0; step < steps; ++step) {
    for (std::int64_t layer = 0; layer < layers; ++layer) {
      for (std::int64_t expert = 0; expert < experts; ++expert) {
        const std::int64_t at =
            step * layout.stride[0] + layer * layout.stride[1] + expert * layout.stride[2];
        const count_or_reason read = decode(elements.data() + at * header.type.bytes, header.type);
        if (!read.reason.empty()) {
          const std::string place = header.shape.size() == 2
                                        ? fmt::format("[{}][{}]", layer, expert)
                                        : fmt::format("[{}][{}][{}]", step, layer, expert);
          source.fail(fmt::format("{} {}", place, read.reason));
        }
        counts[static_cast<std::size_t>(layer * experts + expert)] = read.count;
      }
    }
    append_step(data, counts, source);
  }
  return data;
}

}  // namespace ballast
