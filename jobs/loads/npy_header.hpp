#pragma once
// The header of a .npy file: {'descr': '<i8', 'fortran_order': False, 'shape': (58, 256), } and
// blanks. Private to jobs/loads.

#include <cstdint>
#include <string_view>
#include <vector>

#include "jobs/loads/byte_source.hpp"

namespace ballast {

struct npy_type {
  char kind = 'i';  ///< 'i', 'u' or 'f'
  int bytes = 8;    ///< 1, 2, 4 or 8; floats 2, 4 or 8
  bool big_endian = false;
};

struct npy_header {
  npy_type type;
  bool fortran_order = false;
  std::vector<std::int64_t> shape;  ///< at most 8 dimensions, each in [0, 2^62]
};

/// Throws by source.fail, naming the field: not this dictionary, a field missing, twice or unknown,
/// an element type that cannot hold counts.
npy_header parse_npy_header(std::string_view text, const byte_source& source);

}  // namespace ballast
