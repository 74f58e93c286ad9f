#pragma once
// Where an id is counted, for record_host.cpp and record_route.cu.

#include <type_traits>

#include "kernels/host_device.hpp"

namespace ballast {

/// Bin of an id in a histogram of experts + 2 bins: 0 is padding (-1), e + 1 is expert e, experts +
/// 1 is everything else. Unsigned arithmetic of the id's width puts every other negative id above
/// the experts.
template <typename Id>
BALLAST_HOST_DEVICE inline auto record_bin(Id id, std::make_unsigned_t<Id> experts) {
  using bin_type = std::make_unsigned_t<Id>;
  const bin_type bin = static_cast<bin_type>(id) + 1;
  return bin < experts + 1 ? bin : experts + 1;
}

}  // namespace ballast
